"""A webhook's message can be verified, and its secrets stay where they are."""

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.notify.messages import Message, notification
from analytics_refreshd.notify.receivers.webhook import WebhookReceiver, WebhookSettings
from analytics_refreshd.notify.request import BadRequest
from analytics_refreshd.notify.settings import DeliverySettings
from tests.support.fakes import FakeClock

GUIDE = Path(__file__).parents[2] / "deploy" / "guides" / "webhook.md"
CLOCK = FakeClock()
ALERT = notification(
    AlertRecord(
        Alert.VIEW_STALE, "v", AlertState.FIRING, Severity.WARNING, CLOCK.now(), CLOCK.now(), None, "ä is old", "d"
    ),
    DeliverySettings("shop"),
)


def request(folder: Path, **changes: Any) -> Any:
    secret = folder / "secret"
    if not secret.exists():
        secret.write_text("s3cret\n")
    settings = WebhookSettings("hook", url="http://h/", secret_file=secret, **changes)
    return WebhookReceiver(settings, DeliverySettings("shop"), CLOCK).request(Message((ALERT,)), "http://h/")


def verifier() -> Any:
    """The guide's snippet, as a reader would paste it."""
    (snippet,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102 - the guide's own code is under test
    return names


def test_the_guides_snippet_verifies_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guide tells people to paste accepts a genuine message and nothing else."""
    names = verifier()
    now = CLOCK.now().timestamp()
    monkeypatch.setattr(names["time"], "time", lambda: now)
    made = request(tmp_path)
    sent_at, signed = (made.headers[f"Analytics-Refreshd-{name}"] for name in ("Timestamp", "Signature"))
    genuine = names["genuine"]
    assert genuine(b"s3cret", sent_at, signed, made.body)
    assert not genuine(b"other", sent_at, signed, made.body)
    assert not genuine(b"s3cret", sent_at, signed, made.body + b" ")
    assert not genuine(b"s3cret", str(int(sent_at) + 1), signed, made.body)
    assert not genuine(b"s3cret", sent_at, "v1=é", made.body)
    monkeypatch.setattr(names["time"], "time", lambda: now + 301)
    assert not genuine(b"s3cret", sent_at, signed, made.body)


ANYTHING = st.none() | st.text(st.characters() | st.sampled_from("0123456789\u0663\u00b2-+.\ud800 _"), max_size=30)
NUMBERS = st.from_regex(r"[+-]?[0-9_]{1,20}\Z") | st.just("9" * 5000) | st.just("1e400") | st.just("nan")


@given(
    timestamp=ANYTHING | NUMBERS, signature=ANYTHING | st.from_regex(r"v1=[0-9a-f]{64}\Z"), body=st.binary(max_size=50)
)
def test_no_header_makes_the_guides_snippet_raise(timestamp: str | None, signature: str | None, body: bytes) -> None:
    """Whoever copies it is on the internet: whatever comes unsigned is refused, and no exception is a 500."""
    assert verifier()["genuine"](b"s3cret", timestamp, signature, body) is False


@given(body=st.binary(max_size=50), seconds=st.integers(-1000, 1000))
def test_the_guides_snippet_takes_what_is_signed_and_new(body: bytes, seconds: int) -> None:
    """Any body; five minutes to either side, for clocks differ."""
    names = verifier()
    sent_at = str(int(CLOCK.now().timestamp()))
    signed = "v1=" + hmac.new(b"s3cret", f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names["time"], "time", lambda: int(sent_at) + seconds)
        assert names["genuine"](b"s3cret", sent_at, signed, body) is (abs(seconds) <= 300)


def test_the_guide_names_every_field_and_header(tmp_path: Path) -> None:
    """No field of a message is missing from the guide's table."""
    text = GUIDE.read_text()
    made = request(tmp_path)
    assert all(f"`{name}`" in text for name in json.loads(made.body))
    assert all(f"`{name}`" in text for name in made.headers if name.startswith("Analytics-Refreshd-"))


def test_secrets_are_read_anew_for_every_try(tmp_path: Path) -> None:
    """A rotated secret or token needs no restart."""
    token = tmp_path / "token"
    token.write_text("one")
    first = request(tmp_path, bearer_token_file=token)
    token.write_text("two\n")
    (tmp_path / "secret").write_text("other")
    second = request(tmp_path, bearer_token_file=token)
    assert (first.headers["Authorization"], second.headers["Authorization"]) == ("Bearer one", "Bearer two")
    assert first.headers["Analytics-Refreshd-Signature"] != second.headers["Analytics-Refreshd-Signature"]


@pytest.mark.parametrize("held", [None, b"", b"  \n", b"one\ntwo", b"\xff\xfe", "t\u00f6ken".encode()])
def test_a_token_that_cannot_be_used_is_named_but_not_shown(tmp_path: Path, held: bytes | None) -> None:
    """Missing, empty, several lines, not text, not ASCII: refused, without the content."""
    token = tmp_path / "token"
    if held is not None:
        token.write_bytes(held)
    with pytest.raises(BadRequest, match="the file with its token") as caught:
        request(tmp_path, bearer_token_file=token)
    assert "two" not in str(caught.value)


def test_without_a_secret_nothing_is_signed() -> None:
    """A webhook without a secret has a timestamp and no signature."""
    made = WebhookReceiver(WebhookSettings("hook", url="http://h/"), DeliverySettings("shop"), CLOCK).request(
        Message((ALERT,)), "http://h/"
    )
    assert "Analytics-Refreshd-Timestamp" in made.headers
    assert "Analytics-Refreshd-Signature" not in made.headers
    assert "Authorization" not in made.headers
