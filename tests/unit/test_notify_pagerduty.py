"""PagerDuty: events that the documented Events API v2 accepts, to a local receiver that checks them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.config import load
from analytics_refreshd.core.alerts.lifecycle import Severity
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.events import Event
from analytics_refreshd.notify.receivers.pagerduty import PagerdutySettings, dedup_key
from tests.support.delivery import QUICK, alert, delivering, resolved
from tests.support.fakes import FakeClock, FakeDeliveryStore
from tests.support.receivers import Answer, Receiver, receiver

_LINK = {"type": "string", "format": "uri", "pattern": "^https?://"}
_TIMESTAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$"
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "An alert event of PagerDuty's Events API v2",
    "type": "object",
    "required": ["routing_key", "event_action"],
    "additionalProperties": False,
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "payload": {
            "type": "object",
            "required": ["summary", "source", "severity"],
            "additionalProperties": False,
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "source": {"type": "string", "minLength": 1},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": {
                    "type": "string",
                    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$",
                },
                "component": {"type": "string"},
                "group": {"type": "string"},
                "class": {"type": "string"},
                "custom_details": {"type": "object"},
            },
        },
        "client": {"type": "string"},
        "client_url": _LINK,
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["href"],
                "additionalProperties": False,
                "properties": {"href": _LINK, "text": {"type": "string"}},
            },
        },
        "images": {"type": "array"},
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}},
    "then": {"required": ["payload"]},
    "else": {"required": ["dedup_key"]},
}
ROUTING_KEY = "CANARY7f3a0123456789abcdef012345"
LEAST = '[database]\nurl = "postgresql://u@db.example.net/app"\n'
Make = Callable[[Receiver], PagerdutySettings]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A file with a routing key."""
    path = tmp_path / "routing-key"
    path.write_text(f"{ROUTING_KEY}\n")
    return path


@pytest.fixture
def pager(key_file: Path) -> Make:
    """The settings of a service on a local receiver."""
    return lambda server: PagerdutySettings("pager", url=f"{server.url}/v2/enqueue", routing_key_file=key_file)


def events(server: Receiver) -> list[tuple[str, str]]:
    """Each event's action and severity."""
    return [(got.json["event_action"], got.json.get("payload", {}).get("severity", "")) for got in list(server.got)]


def test_an_incident_is_triggered_escalated_and_resolved_under_one_key(pager: Make) -> None:
    """Warning, its repetition, critical, resolved: four events that PagerDuty would accept, all for one incident."""
    settings = replace(
        QUICK, repeat_every_seconds=3600.0, page_url="http://shop.example.com/", runbooks_url="https://runbooks.example"
    )
    with receiver(202, schema=SCHEMA) as server, delivering(pager(server), settings=settings) as tested:
        worse = alert(severity=Severity.CRITICAL)
        for record, after in ((alert(), 30.0), (alert(), 30.0), (alert(), 3600.0), (worse, 30.0)):
            tested.evaluate(record, after=after)
            tested.settle()
        tested.evaluate(resolved(worse, tested.clock.now()))
        tested.settle()
        assert server.violations == []
        assert tested.counts.good == {"pager": 4}
        assert events(server) == [
            ("trigger", "warning"),
            ("trigger", "warning"),
            ("trigger", "critical"),
            ("resolve", ""),
        ]
        assert {got.json["dedup_key"] for got in server.got} == {
            "shop/AnalyticsViewStale/v/2026-05-04T11:00:00.000000Z"
        }
        assert {got.json["routing_key"] for got in server.got} == {ROUTING_KEY}
        assert {got.path for got in server.got} == {"/v2/enqueue"}
        first = server.got[0].json
        assert {name: first["payload"][name] for name in first["payload"] if name != "custom_details"} == {
            "summary": "shop: v is old",
            "source": "shop",
            "severity": "warning",
            "timestamp": "2026-05-04T11:00:00.000Z",
            "component": "v",
            "group": "shop",
            "class": "AnalyticsViewStale",
        }
        assert first["payload"]["custom_details"]["description"] == "It is old."
        assert first["client_url"] == "http://shop.example.com/"
        (link,) = first["links"]
        assert link["href"] == "https://runbooks.example/AnalyticsViewStale.md"


def test_a_hint_pages_nobody(pager: Make) -> None:
    """What asks nobody to act triggers nothing, and its end resolves nothing."""
    hint = alert("hint", severity=Severity.INFO)
    with receiver(202, schema=SCHEMA) as server, delivering(pager(server)) as tested:
        tested.evaluate(hint, alert())
        tested.settle()
        tested.evaluate(resolved(hint, tested.clock.now()), alert())
        tested.settle()
        assert [got.json["payload"]["component"] for got in server.got] == ["v"]


def test_several_alerts_are_several_incidents(pager: Make) -> None:
    """One event an alert, and the end of one leaves the other open; a path in our tree is no link."""
    with receiver(202, schema=SCHEMA) as server, delivering(pager(server)) as tested:
        tested.evaluate(alert("a"), alert("b"), alert(""))
        tested.settle()
        tested.evaluate(resolved(alert("a"), tested.clock.now()), alert("b"), alert(""))
        tested.settle()
        assert server.violations == []
        assert [action for action, _ in events(server)] == ["trigger"] * 3 + ["resolve"]
        keys = [got.json["dedup_key"] for got in server.got]
        assert len(set(keys)) == 3
        assert keys[3] == keys[0]
        assert {got.json["payload"]["component"] for got in server.got[:3]} == {"a", "b", "database"}
        assert all("links" not in got.json and "client_url" not in got.json for got in server.got)


def test_another_replica_resolves_the_same_incident(pager: Make) -> None:
    """The key is the same whoever sends it, so a new leader ends what the old one began."""
    store, clock = FakeDeliveryStore(), FakeClock()
    with receiver(202, schema=SCHEMA) as server:
        for replica, record in (("one", alert()), ("two", alert()), ("two", resolved(alert(), clock.now()))):
            settings = replace(QUICK, replica=replica)
            with delivering(pager(server), settings=settings, store=store, clock=clock) as tested:
                tested.evaluate(record)
                tested.settle()
        assert [action for action, _ in events(server)] == ["trigger", "resolve"]
        assert len({got.json["dedup_key"] for got in server.got}) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_pagerduty_gets_the_event_again(pager: Make, status: int) -> None:
    """Rate limits and server errors pass; 202 is success."""
    script = Answer(status, {"Retry-After": "0"}), Answer(202)
    with receiver(*script, schema=SCHEMA) as server, delivering(pager(server)) as tested:
        tested.evaluate(alert())
        tested.settle()
        assert tested.counts.good == {"pager": 1}
        first, second = server.got
        assert first.body == second.body
        assert tested.log.of(Event.ALERT_DELIVERED)[0]["tries"] == 2


def test_an_event_that_is_refused_is_not_tried_again_and_its_key_is_not_shown(pager: Make, key_file: Path) -> None:
    """A routing key of another length is a 400: one try, counted, and neither log nor status shows the key."""
    key_file.write_text("CANARY")
    with receiver(202, schema=SCHEMA) as server, delivering(pager(server)) as tested:
        for _ in range(3):
            tested.evaluate(alert())
            tested.settle()
        assert (tested.counts.bad, tested.counts.good, len(server.got)) == ({"pager": 1}, {}, 1)
        assert tested.log.of(Event.ALERT_DELIVERY_FAILED)[0]["error"] == "HTTP 400"
        assert "CANARY" not in repr(tested.log.lines) + repr(tested.delivery.status())


@pytest.mark.parametrize("held", [None, b"", b"CANARY\nCANARY", "CANÄRY".encode()])
def test_a_routing_key_that_cannot_be_used_is_named_but_not_shown(
    pager: Make, key_file: Path, held: bytes | None
) -> None:
    """Missing, empty, several lines, not ASCII: nothing is sent, and the log says which file."""
    key_file.unlink()
    if held is not None:
        key_file.write_bytes(held)
    with receiver(202) as server, delivering(pager(server)) as tested:
        tested.evaluate(alert())
        tested.settle()
        assert server.got == []
        (failure,) = tested.log.of(Event.ALERT_DELIVERY_FAILED)
        assert str(failure["error"]).startswith("the file with its routing key ")
        assert "CAN" not in repr(failure)


def test_a_new_routing_key_needs_no_restart(pager: Make, key_file: Path) -> None:
    """The file is read again for every try."""
    with receiver(202, schema=SCHEMA) as server, delivering(pager(server)) as tested:
        tested.evaluate(alert("a"))
        tested.settle()
        key_file.write_text("f" * 32)
        tested.evaluate(alert("a"), alert("b"))
        tested.settle()
        assert [got.json["routing_key"] for got in server.got] == [ROUTING_KEY, "f" * 32]


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_key_fits_and_stays_unique(one: str, other: str) -> None:
    """At most 255 characters, the same every time, and different for different alerts."""
    assert len(dedup_key(one)) <= 255
    assert dedup_key(one) == dedup_key(one)
    assert (dedup_key(one) == dedup_key(other)) == (one == other)
    long = "x" * 255 + one
    assert dedup_key(long + "y") != dedup_key(long + "z")
    assert len(dedup_key(long + "y")) == 255


def test_its_keys_in_the_configuration(tmp_path: Path, key_file: Path) -> None:
    """The routing key's file is required, the address is not; a service region has an address of its own."""
    path = tmp_path / "config.toml"

    def written(keys: str) -> Path:
        path.write_text(f'{LEAST}[receivers.pager]\ntype = "pagerduty"\n{keys}')
        return path

    config = load(written(f'routing_key_file = "{key_file}"\n'))
    settings = config.receivers["pager"].settings("pager")
    assert settings == PagerdutySettings("pager", routing_key_file=key_file)
    assert settings.address == "https://events.pagerduty.com/v2/enqueue"
    region = "https://events.eu.pagerduty.com/v2/enqueue"
    config = load(written(f'routing_key_file = "{key_file}"\nurl = "{region}"\n'))
    assert config.receivers["pager"].settings("pager").address == region
    assert "CANARY" not in repr(config.public()) + repr(config)
    refused = {
        "": "receivers.pager.routing_key_file is missing",
        'routing_key_file = "/nowhere"\n': "receivers.pager.routing_key_file cannot be read: No such file or directory",
        f'routing_key_file = "{key_file}"\nurl = "events.pagerduty.com"\n': (
            "receivers.pager.url must begin with http:// or https:// and name a host"
        ),
        f'routing_key_file = "{key_file}"\nrouting_key = "x"\n': (
            "receivers.pager.routing_key is not a known key; did you mean receivers.pager.routing_key_file?"
        ),
    }
    for keys, expected in refused.items():
        with pytest.raises(ConfigError) as caught:
            load(written(keys))
        assert caught.value.problems == (expected,)
