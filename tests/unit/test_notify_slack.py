"""Slack and Mattermost: messages that the documented format allows, to a local receiver that checks it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from analytics_refreshd.config import load
from analytics_refreshd.core.alerts.lifecycle import AlertRecord, Severity
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.events import Event
from analytics_refreshd.notify.messages import Message, Notification, notification
from analytics_refreshd.notify.receivers.slack import SlackReceiver, SlackSettings, escaped
from analytics_refreshd.notify.settings import DeliverySettings
from tests.support.delivery import QUICK, alert, delivering, resolved
from tests.support.fakes import FakeClock
from tests.support.receivers import Receiver, receiver

_TEXT = {"type": "string", "minLength": 1, "pattern": r"^(?:[^&<>]|&(?:amp|lt|gt);)*$"}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Slack's incoming webhook, as far as Mattermost takes it too",
    "type": "object",
    "required": ["text"],
    "additionalProperties": False,
    "properties": {
        "text": {**_TEXT, "maxLength": 40_000},
        "attachments": {"type": "array", "maxItems": 100, "items": {"$ref": "#/$defs/attachment"}},
    },
    "$defs": {
        "attachment": {
            "type": "object",
            "required": ["fallback"],
            "additionalProperties": False,
            "properties": {
                "fallback": {**_TEXT, "maxLength": 3000},
                "color": {"anyOf": [{"enum": ["good", "warning", "danger"]}, {"pattern": "^#[0-9a-f]{6}$"}]},
                "pretext": _TEXT,
                "title": {**_TEXT, "maxLength": 300},
                "title_link": {"type": "string", "pattern": "^https?://"},
                "text": {**_TEXT, "maxLength": 3000},
                "fields": {"type": "array", "maxItems": 10, "items": {"$ref": "#/$defs/field"}},
                "footer": {**_TEXT, "maxLength": 300},
                "ts": {"type": "integer"},
                "mrkdwn_in": {"type": "array", "items": {"enum": ["pretext", "text", "fields"]}},
            },
        },
        "field": {
            "type": "object",
            "required": ["title", "value"],
            "additionalProperties": False,
            "properties": {"title": _TEXT, "value": {**_TEXT, "maxLength": 2000}, "short": {"type": "boolean"}},
        },
    },
}
SECRET_PATH = "/services/T00000000/B00000000/CANARY"
LEAST = '[database]\nurl = "postgresql://u@db.example.net/app"\n'


@pytest.fixture
def chat(tmp_path: Path) -> Callable[[Receiver], SlackSettings]:
    """The settings of a channel on a local receiver, its address in a file."""

    def settings(server: Receiver) -> SlackSettings:
        path = tmp_path / "url"
        path.write_text(f"{server.url}{SECRET_PATH}\n")
        return SlackSettings("chat", url_file=path)

    return settings


def headlines(server: Receiver) -> list[str]:
    """The one line that sums up each message."""
    return [got.json["text"] for got in list(server.got)]


def made(*items: Notification, repeat: bool = False, delivery: DeliverySettings = QUICK) -> Any:
    """The request for these alerts, its body decoded."""
    built = SlackReceiver(SlackSettings("chat", url="http://h"), delivery, FakeClock()).request(
        Message(items, items, repeat=repeat), "http://h"
    )
    return json.loads(built.body)


def test_what_fires_and_ends_is_said_in_the_documented_format(chat: Callable[[Receiver], SlackSettings]) -> None:
    """Firing, repeated, worse, resolved: four messages that Slack would accept, each in its colour."""
    settings = replace(QUICK, repeat_every_seconds=3600.0, page_url="http://shop.example.com:9720/", replica="one")
    with receiver(schema=SCHEMA) as server, delivering(chat(server), settings=settings) as tested:
        worse = alert(severity=Severity.CRITICAL)
        for record, after in ((alert(), 30.0), (alert(), 30.0), (alert(), 3600.0), (worse, 30.0)):
            tested.evaluate(record, after=after)
            tested.settle()
        tested.evaluate(resolved(worse, tested.clock.now()))
        tested.settle()
        assert server.violations == []
        assert tested.counts.good == {"chat": 4}
        assert headlines(server) == [
            "Firing: shop: v is old",
            "Still firing: shop: v is old",
            "Firing: shop: v is old",
            "Resolved: shop: v is old",
        ]
        assert {got.path for got in server.got} == {SECRET_PATH}
        shown = [got.json["attachments"][0] for got in server.got]
        assert [item["color"] for item in shown] == ["#daa038", "#daa038", "#a30200", "#2eb886"]
        assert shown[0]["title"] == "Firing: AnalyticsViewStale"
        assert shown[0]["title_link"] == "http://shop.example.com:9720/"
        assert shown[0]["text"] == "shop: v is old\nIt is old."
        assert shown[0]["footer"] == "analytics-refreshd one"
        fields = {field["title"]: field["value"] for field in shown[0]["fields"]}
        assert fields == {
            "Severity": "warning",
            "View": "v",
            "Since": "2026-05-04T11:00:00.000Z",
            "Runbook": "deploy/runbooks/AnalyticsViewStale.md",
        }
        assert len(tested.log.of(Event.ALERT_DELIVERED)) == 4


def test_a_hint_has_a_colour_of_its_own() -> None:
    """Every severity is shown."""
    for severity in Severity:
        (shown,) = made(notification(alert(severity=severity), QUICK))["attachments"]
        assert (shown["color"] == "#3b82c4") is (severity is Severity.INFO)


def test_alerts_that_are_due_together_are_one_message(chat: Callable[[Receiver], SlackSettings]) -> None:
    """One message per evaluation, with one attachment each, split after twenty; each is remembered by itself."""
    with receiver(schema=SCHEMA) as server, delivering(chat(server)) as tested:
        records = [alert(f"v{number}") for number in range(24)]
        tested.evaluate(*records[:3])
        tested.settle()
        tested.evaluate(resolved(records[0], tested.clock.now()), *records[1:])
        tested.settle()
        assert server.violations == []
        assert headlines(server) == ["shop: 3 firing", "shop: 19 firing, 1 resolved", "shop: 2 firing"]
        assert [len(got.json["attachments"]) for got in server.got] == [3, 20, 2]
        sent = [record.status for record in tested.store.load()]
        assert (sent.count("firing:warning"), sent.count("resolved")) == (24, 1)


@pytest.mark.parametrize(("status", "tries"), [(500, 2), (503, 2), (429, 2)])
def test_a_busy_slack_gets_the_message_again(
    chat: Callable[[Receiver], SlackSettings], status: int, tries: int
) -> None:
    """Rate limits and server errors pass."""
    with receiver(status, 200, schema=SCHEMA) as server, delivering(chat(server)) as tested:
        tested.evaluate(alert())
        tested.settle()
        assert (tested.counts.good, len(server.got)) == ({"chat": 1}, tries)


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_channel_that_is_gone_is_not_tried_again_and_its_address_is_not_shown(
    chat: Callable[[Receiver], SlackSettings], status: int
) -> None:
    """Refused for good: one try, counted; log and status name receiver, host and status, and no path."""
    with receiver(status) as server, delivering(chat(server)) as tested:
        for _ in range(3):
            tested.evaluate(alert())
            tested.settle()
        assert (tested.counts.bad, len(server.got)) == ({"chat": 1}, 1)
        (failure,) = tested.log.of(Event.ALERT_DELIVERY_FAILED)
        assert (failure["error"], failure["host"]) == (f"HTTP {status}", f"127.0.0.1:{server.port}")
        assert "CANARY" not in repr(tested.log.lines) + repr(tested.delivery.status())


def test_a_new_address_needs_no_restart(chat: Callable[[Receiver], SlackSettings]) -> None:
    """The file is read again for every try."""
    with receiver() as old, receiver() as new, delivering(chat(old)) as tested:
        tested.evaluate(alert("a"))
        tested.settle()
        chat(new)
        tested.evaluate(alert("a"), alert("b"))
        tested.settle()
        assert (len(old.got), len(new.got)) == (1, 1)


def test_nothing_in_a_text_is_markup_or_a_mention() -> None:
    """Slack's three characters are escaped, and nobody is called by an error message."""
    nasty = alert(summary="a & b <!channel> @here", description="<https://evil.example.com|x> @channel *b* &amp;")
    (shown,) = made(notification(nasty, QUICK))["attachments"]
    assert shown["text"].startswith("a &amp; b ‹!channel› ＠here\n‹https://evil.example.com|x› ＠channel")  # noqa: RUF001
    assert shown["text"].endswith("&amp;amp;")
    assert shown["mrkdwn_in"] == []


def test_the_longest_texts_fit_the_schema() -> None:
    """However many characters have to be escaped, every limit holds."""
    item = notification(alert("v" * 63), QUICK)
    long = replace(item, summary="&" * 9999, description="<" * 9999, runbook=f"https://r/{'&' * 9999}", view="&" * 999)
    for repeat in (False, True):
        body = made(*[replace(long, key=str(number)) for number in range(20)], repeat=repeat)
        assert list(Draft202012Validator(SCHEMA).iter_errors(body)) == []


@given(st.text(alphabet="ab&<>", max_size=60), st.integers(1, 60))
def test_an_escape_is_never_cut_in_half(text: str, most: int) -> None:
    """A cut text is a beginning of the whole, and fits."""
    seen = escaped(text, most)
    assert len(seen) <= most
    assert re.fullmatch(r"(?:[^&<>]|&(?:amp|lt|gt);)*", seen)
    whole = escaped(text, 10_000)
    assert whole == seen or whole.startswith(seen.removesuffix("…"))


def test_its_keys_in_the_configuration(tmp_path: Path) -> None:
    """An address or its file, never both, and neither in the log of the configuration."""
    path = tmp_path / "config.toml"
    secret = tmp_path / "url"
    secret.write_text(f"https://hooks.slack.com{SECRET_PATH}")
    path.write_text(f'{LEAST}[receivers.chat]\ntype = "slack"\nurl_file = "{secret}"\ndeadline = "3s"\n')
    config = load(path)
    assert config.receivers["chat"].settings("chat") == SlackSettings("chat", url_file=secret, deadline_seconds=3.0)
    path.write_text(f'{LEAST}[receivers.chat]\ntype = "slack"\nurl = "https://hooks.slack.com{SECRET_PATH}"\n')
    config = load(path)
    assert "CANARY" not in repr(config.public()) + repr(config) + repr(config.receivers["chat"].settings("chat"))
    path.write_text(f'{LEAST}[receivers.chat]\ntype = "slack"\nrouting_key_file = "{secret}"\n')
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.problems == ("receivers.chat.routing_key_file is not for type slack, but for pagerduty",)


def test_the_time_shown_is_that_of_the_change() -> None:
    """An end is dated by its end, a beginning by its beginning."""
    end = datetime(2026, 5, 4, 11, 50, tzinfo=UTC)
    over: AlertRecord = resolved(alert(), end)
    assert made(notification(over, QUICK))["attachments"][0]["ts"] == int(end.timestamp())
    assert made(notification(alert(), QUICK))["attachments"][0]["ts"] == int(end.timestamp()) - 50 * 60
