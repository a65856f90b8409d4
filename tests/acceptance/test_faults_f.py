"""Section F of the fault matrix: the delivery of alerts, against real HTTP servers."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from socket import socket
from typing import Any, Never
from uuid import UUID

import pytest

from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity, step
from analytics_refreshd.core.alerts.rules import conditions
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Outcome, Reason, Run
from analytics_refreshd.notify.delivery import Delivery
from analytics_refreshd.notify.receivers.alertmanager import AlertmanagerSettings
from analytics_refreshd.notify.receivers.heartbeat import HeartbeatSettings
from analytics_refreshd.notify.receivers.webhook import WebhookSettings
from analytics_refreshd.notify.settings import ReceiverSettings
from analytics_refreshd.postgres.state.alerts import PostgresDeliveryStore
from tests.support.adapters import session
from tests.support.alert_rules import aged, ago, run, seen
from tests.support.delivery import QUICK, alert, delivering, resolved
from tests.support.fakes import FakeClock, FakeDeliveryStore
from tests.support.receivers import Answer, Got, Receiver, raw_server, receiver
from tests.support.waiting import eventually

pytestmark = [pytest.mark.fault, pytest.mark.quick]


def webhook(url: str, name: str = "hook", **changes: Any) -> ReceiverSettings:
    return WebhookSettings(name, url=url, **changes)


def arrived(server: Receiver, count: int) -> bool:
    """Whether so many requests have come."""
    return len(server.got) == count


def told(server: Receiver) -> list[tuple[str, str | None]]:
    """What a webhook got: status and view."""
    return [(one["status"], one["view"]) for got in list(server.got) for one in got.alerts]


@pytest.mark.parametrize("status", [500, 502, 503, 408])
def test_F01_a_receiver_that_answers_5xx_is_tried_again_until_it_accepts(status: int) -> None:
    """Two failures, then success: one message in the end, the same key and start each time, one success counted."""
    with receiver(status, status, 200) as server, delivering(webhook(server.url)) as tested:
        tested.evaluate(alert())
        tested.settle()
        assert tested.counts.good == {"hook": 1}
        bodies = [{**got.json, "sent_at": None} for got in server.got]
        assert len(bodies) == 3
        assert bodies[0] == bodies[1] == bodies[2]
        assert tested.counts.bad == {}
        assert tested.log.of(Event.ALERT_DELIVERED)[0]["tries"] == 3


def test_F01_a_receiver_that_stays_broken_gets_the_alert_when_it_is_back() -> None:
    """All tries fail: counted and logged, held back for a while, and delivered by a later evaluation."""
    with receiver(500) as server, delivering(webhook(server.url)) as tested:
        tested.evaluate(alert())
        tested.settle()
        assert tested.counts.bad == {"hook": 1}
        assert len(server.got) == QUICK.tries
        tested.evaluate(alert(), after=1.0)
        tested.settle()
        assert len(server.got) == QUICK.tries
        server.answer(200)
        tested.evaluate(alert(), after=30.0)
        tested.settle()
        assert tested.counts.good == {"hook": 1}
        assert len(server.got) == QUICK.tries + 1
        (failure,) = tested.log.of(Event.ALERT_DELIVERY_FAILED)
        assert (failure["receiver"], failure["error"], failure["tries"]) == ("hook", "HTTP 500", QUICK.tries)


def test_F01_handing_alerts_over_never_waits_for_a_receiver() -> None:
    """With a receiver that never answers, a thousand evaluations and pings return while the first waits."""

    def hand_over(delivery: Delivery) -> None:
        for _ in range(1000):
            delivery.alerts([alert()], inhibited=[])
            delivery.heartbeat("start", None)

    with (
        raw_server(hang) as (url, connections),
        delivering(webhook(url, deadline_seconds=600.0), heartbeat(url, deadline_seconds=600.0)) as tested,
    ):
        caller = threading.Thread(target=hand_over, args=(tested.delivery,), daemon=True)
        caller.start()
        try:
            eventually(lambda: len(connections) == 2 and not caller.is_alive())
            assert tested.counts.good == {}
        finally:
            tested.delivery.stop(0.1)


def hang(accepted: socket, over: threading.Event) -> None:
    """Accept, and say nothing."""
    over.wait(60)


def drip(accepted: socket, over: threading.Event) -> None:
    """Answer a byte at a time, without end."""
    accepted.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    while not over.wait(0.02):
        accepted.sendall(b"a")


@pytest.mark.parametrize("talk", [hang, drip])
def test_F02_a_receiver_that_hangs_or_drips_is_left_at_the_total_deadline(
    talk: Callable[[socket, threading.Event], None],
) -> None:
    """Each try ends at its deadline, though bytes keep coming; afterwards no thread is left but the queue's."""
    settings = replace(QUICK, tries=2)
    with (
        raw_server(talk) as (url, connections),
        delivering(webhook(url, deadline_seconds=0.3), settings=settings) as tested,
    ):
        tested.evaluate(alert())
        tested.settle()
        assert tested.counts.bad == {"hook": 1}
        assert len(connections) == 2
        assert tested.log.of(Event.ALERT_DELIVERY_FAILED)[0]["error"] == "no answer within 0.3 s"
        eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "receiver-deadline"])


def test_F02_a_stop_does_not_wait_for_a_receiver_that_hangs() -> None:
    """What is under way is cut at the stop's deadline, and the thread ends."""
    with raw_server(hang) as (url, connections), delivering(webhook(url, deadline_seconds=600.0)) as tested:
        tested.evaluate(alert())
        eventually(lambda: len(connections) == 1)
        tested.delivery.stop(0.0)
        eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "deliver-hook"])


@pytest.mark.parametrize(
    ("asked", "cap", "least", "most"),
    [("1", 60.0, 1.0, 10.0), ("86400", 0.2, 0.2, 10.0), ("Fri, 31 Dec 2100 23:59:59 GMT", 0.2, 0.2, 10.0)],
)
def test_F03_retry_after_is_honoured_up_to_the_cap(asked: str, cap: float, least: float, most: float) -> None:
    """429 with Retry-After: not asked again before, and not for hours on a hostile value."""
    times: list[float] = []

    class Timed(Receiver):
        def _note(self, got: Got) -> Answer:
            times.append(time.monotonic())
            return super()._note(got)

    server = Timed(Answer(429, {"Retry-After": asked}), Answer(200))
    try:
        with delivering(webhook(server.url), settings=replace(QUICK, retry_after_cap_seconds=cap)) as tested:
            tested.evaluate(alert())
            eventually(lambda: tested.counts.good == {"hook": 1}, within=most)
            assert times[1] - times[0] >= least
    finally:
        server.close()


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_F04_a_refusal_is_not_tried_again(status: int) -> None:
    """4xx: one try, counted and logged; not sent again by later evaluations, while the other receiver has the alert."""
    with (
        receiver(status) as refusing,
        receiver() as good,
        delivering(webhook(refusing.url, "bad"), webhook(good.url, "good")) as tested,
    ):
        for _ in range(20):
            tested.evaluate(alert())
        tested.settle()
        for _ in range(3):
            tested.evaluate(alert())
            tested.settle()
        assert (tested.counts.bad, tested.counts.good) == ({"bad": 1}, {"good": 1})
        assert len(refusing.got) == len(good.got) == 1
        (failure,) = tested.log.of(Event.ALERT_DELIVERY_FAILED)
        assert failure["error"] == f"HTTP {status}"
        assert f"HTTP {status}" in tested.delivery.status()["bad"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_F05_a_redirect_is_not_followed(status: int, tmp_path: Path) -> None:
    """Neither the alert nor the token reaches the host that a redirect names."""
    token = tmp_path / "token"
    token.write_text("CANARY-token\n")
    with receiver() as elsewhere, receiver(Answer(status, {"Location": f"{elsewhere.url}/x"})) as server:
        with delivering(webhook(server.url, bearer_token_file=token)) as tested:
            tested.evaluate(alert())
            tested.settle()
            assert tested.counts.bad == {"hook": 1}
            assert server.got[0].headers["Authorization"] == "Bearer CANARY-token"
            assert elsewhere.got == []
            assert "redirects are not followed" in str(tested.log.of(Event.ALERT_DELIVERY_FAILED)[0]["error"])
            assert "CANARY" not in repr(tested.log.lines)


def test_F06_a_restart_while_an_alert_fires_tells_nobody_twice_and_resolves() -> None:
    """The new process knows what was told: no second page with the same key, and the resolution arrives."""
    with receiver() as server:
        store, clock = FakeDeliveryStore(), FakeClock()
        with delivering(webhook(server.url), store=store, clock=clock) as first:
            first.evaluate(alert())
            eventually(lambda: first.counts.good == {"hook": 1})
        with delivering(webhook(server.url), store=store, clock=clock) as second:
            for _ in range(3):
                second.evaluate(alert())
            second.evaluate(resolved(alert(), clock.now()))
            second.settle()
        assert told(server) == [("firing", "v"), ("resolved", "v")]
        assert server.got[0].json["key"] == server.got[1].json["key"]


@pytest.fixture
def database(dsn: str) -> Iterator[PostgresDeliveryStore]:
    """The delivery store of a real database."""
    with session(dsn) as opened:
        yield PostgresDeliveryStore(opened)


def test_F07_a_new_leader_adopts_what_the_old_one_told(database: PostgresDeliveryStore) -> None:
    """Leadership moves there and back: one page, one resolution, one key."""
    with receiver() as server:
        store, clock = database, FakeClock()
        clock.wall = SystemClock().now()
        with (
            delivering(webhook(server.url), store=store, clock=clock) as one,
            delivering(webhook(server.url), store=store, clock=clock) as other,
        ):
            one.evaluate(alert("a"))
            one.settle()
            eventually(lambda: len(store.load()) == 1)
            other.evaluate(alert("a"), alert("b"))
            other.settle()
            eventually(lambda: len(store.load()) == 2)
            one.delivery.invalidate()
            one.evaluate(alert("a"), alert("b"))
            one.settle()
            one.evaluate(resolved(alert("a"), clock.now()), alert("b"))
            one.settle()
            assert len(store.load()) == 3
        assert told(server) == [("firing", "a"), ("firing", "b"), ("resolved", "a")]


def test_F07_an_alert_that_ended_under_a_new_leader_is_resolved() -> None:
    """The new leader's first look already sees the resolution: it still tells those who were paged."""
    with receiver() as server:
        store = FakeDeliveryStore()
        with delivering(webhook(server.url), store=store) as old:
            old.evaluate(alert())
            old.settle()
        with delivering(webhook(server.url), store=store) as new:
            new.evaluate(alert(state=AlertState.RESOLVED), alert("never-told", AlertState.RESOLVED))
            new.settle()
        assert told(server) == [("firing", "v"), ("resolved", "v")]


def test_F08_a_flapping_view_is_one_message_and_its_repeat() -> None:
    """Success and failure in turn for hours: one message, repeated after the repeat interval, none per run."""
    settings = replace(QUICK, repeat_every_seconds=3600.0, evaluate_every_seconds=300.0)
    with receiver() as server, delivering(webhook(server.url), settings=settings) as tested:
        runs = [run(Outcome.FAILED, a=Reason.LOCK_TIMEOUT)]
        record: AlertRecord | None = None
        for number in range(24):
            tested.clock.pass_by(300.0)
            failed = number % 2 == 0
            runs.insert(0, run(Outcome.FAILED if failed else Outcome.OK, a=Reason.LOCK_TIMEOUT if failed else None))
            firing = {(record.alert, "a")} if record and record.state is AlertState.FIRING else frozenset()
            at = seen(now=tested.clock.now(), runs=runs[:12], firing=firing)
            condition = next(item for item in conditions(at) if item.alert is Alert.REFRESH_FAILED)
            record = step(record, condition, tested.clock.now()).record
            tested.evaluate(*([record] if record else []), after=0.0)
            tested.settle()
        assert [(got.json["status"], got.json["repeat"]) for got in server.got] == [("firing", False), ("firing", True)]


def test_F09_an_absent_database_is_one_message() -> None:
    """Half an hour without a database: DatabaseUnavailable alone; what fired is neither repeated nor resolved."""
    settings = replace(QUICK, repeat_every_seconds=600.0)
    store = FakeDeliveryStore()
    with receiver() as server, delivering(webhook(server.url), settings=settings, store=store) as tested:
        stale = alert("a")
        tested.evaluate(stale)
        tested.settle()
        store.away = True
        records: dict[tuple[Alert, str], AlertRecord] = {(stale.alert, stale.view): stale}
        away_since = tested.clock.now()
        for _ in range(22):
            tested.clock.pass_by(30.0)
            now = tested.clock.now()
            at = seen(
                now=now,
                ages=[aged(9999.0)],
                runs=[run(Outcome.FAILED, Reason.CONNECT, started_at=ago(60), a=Reason.CONNECT)] * 5,
                database_down_since=away_since,
                firing=frozenset(key for key, item in records.items() if item.state is AlertState.FIRING),
            )
            for condition in conditions(at):
                key = (condition.alert, condition.view)
                taken = step(records.get(key), condition, now).record
                if taken is not None:
                    records[key] = taken
            cause = [item for item in records.values() if item.alert is Alert.DATABASE_UNAVAILABLE]
            rest = [item for item in records.values() if item.alert is not Alert.DATABASE_UNAVAILABLE]
            away = any(item.state is AlertState.FIRING for item in cause)
            tested.evaluate(*cause, *([] if away else rest), inhibited=rest if away else [], after=0.0)
            tested.settle()
        assert [got.json["alert"] for got in server.got] == ["AnalyticsViewStale", "AnalyticsDatabaseUnavailable"]
        store.away = False
        tested.evaluate(resolved(stale, tested.clock.now()))
        tested.settle()
        assert told(server)[2:] == [("resolved", "a")]


def test_F09_who_could_not_learn_what_was_told_tells_of_the_absent_database_alone() -> None:
    """A standby's cache was never read: it pages the database's absence, and the rest only where nobody else did."""
    with receiver() as server:
        store, clock = FakeDeliveryStore(), FakeClock()
        with delivering(webhook(server.url), store=store, clock=clock) as leader:
            leader.evaluate(alert("a"))
            leader.settle()
            eventually(lambda: len(store.records) == 1)
        with delivering(webhook(server.url), store=store, clock=clock) as standby:
            store.away = True
            cause = alert("", alert=Alert.DATABASE_UNAVAILABLE, severity=Severity.CRITICAL)
            for _ in range(3):
                standby.evaluate(alert("a"), alert("b"), cause)
                standby.settle()
            assert told(server) == [("firing", "a"), ("firing", None)]
            # what it told itself it knows, whatever the store says
            standby.evaluate(alert("a"), alert("b"), resolved(cause, clock.now()))
            standby.settle()
            assert told(server)[2:] == [("resolved", None)]
            store.away = False
            standby.evaluate(alert("a"), alert("b"))
            standby.settle()
            assert told(server)[3:] == [("firing", "b")]


def manager(url: str) -> ReceiverSettings:
    return AlertmanagerSettings("am", url=url)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_F11_an_alertmanager_is_told_again_long_before_it_would_forget() -> None:
    """What fires is posted every minute with an end four periods away; the resolution ends it at its own time."""
    with receiver() as server, delivering(manager(server.url)) as tested:
        for _ in range(10):
            tested.evaluate(alert())
            tested.settle()
        posts = [got.json[0] for got in server.got]
        assert len(posts) == 5
        assert {got.path for got in server.got} == {"/api/v2/alerts"}
        assert {post["startsAt"] for post in posts} == {"2026-05-04T11:00:00.000Z"}
        ends = [moment(post["endsAt"]) for post in posts]
        assert [end - earlier for earlier, end in pairwise(ends)] == [timedelta(seconds=60)] * 4
        assert ends[-1] - tested.clock.now() >= timedelta(seconds=3 * 60)
        over = tested.clock.now()
        tested.evaluate(resolved(alert(), over))
        tested.settle()
        assert len(server.got) == 6
        assert moment(server.got[-1].json[0]["endsAt"]) == over
        assert len(tested.log.of(Event.ALERT_DELIVERED)) == 2


def test_F11_what_is_held_back_does_not_expire_as_resolved() -> None:
    """An alert that an absent database holds back goes on being posted, if it was told; one never told is not."""
    with receiver() as server, delivering(manager(server.url)) as tested:
        tested.evaluate(alert("told"))
        tested.settle()
        cause = alert("", alert=Alert.DATABASE_UNAVAILABLE, severity=Severity.CRITICAL)
        for _ in range(4):
            tested.evaluate(cause, inhibited=[alert("told"), alert("never")])
            tested.settle()
        posted = [{item["labels"].get("view") for item in got.json} for got in server.got[1:]]
        assert len(posted) >= 2
        assert all(views == {None, "told"} for views in posted)
        now = tested.clock.now()
        assert all(moment(item["endsAt"]) > now for item in server.got[-1].json)


def test_F11_a_receiver_that_fails_is_posted_to_again_soon() -> None:
    """A post that failed is repeated after half a minute, not after ever longer pauses."""
    with receiver(503) as server, delivering(manager(server.url), settings=replace(QUICK, tries=1)) as tested:
        for number in range(1, 9):
            tested.evaluate(alert())
            tested.settle()
            assert tested.counts.bad == {"am": number}
        assert len(tested.log.of(Event.ALERT_DELIVERY_FAILED)) == 4
        server.answer(200)
        tested.evaluate(alert())
        tested.settle()
        assert tested.counts.good == {"am": 1}


def test_F12_a_text_of_5_megabytes_is_cut_and_cleaned() -> None:
    """Control characters, markup, links and mentions are gone, and no text is over a kilobyte."""
    nasty = "x\n\x1b[31m <!channel> <script> @here `rm` [click](http://evil) \u202e" + "ä" * 5_000_000
    with receiver() as hook, receiver() as am, delivering(webhook(hook.url), manager(am.url)) as tested:
        tested.evaluate(alert(summary=nasty, description=nasty))
        tested.settle()
        assert tested.counts.good == {"hook": 1, "am": 1}
        for fields in (hook.got[0].json, am.got[0].json[0]["annotations"]):
            for name, most in (("summary", 300), ("description", 1024)):
                text = fields[name]
                assert len(text.encode()) <= most
                assert text.startswith("x [31m ‹!channel› ‹script› ＠here 'rm' [click] (http://evil)")  # noqa: RUF001
                assert text.endswith("characters)")
                assert not re.search(r"[\x00-\x1f\u202e<>`]", text)
        assert max(len(hook.got[0].body), len(am.got[0].body)) < 4096


def test_F13_a_broken_receiver_does_not_stop_the_other() -> None:
    """One receiver hangs, the other has every alert; the other's queue is bounded, and its losses are counted."""
    settings = replace(QUICK, queue_length=5, tries=1)
    with raw_server(hang) as (url, connections), receiver() as good:
        hanging = webhook(url, "bad", deadline_seconds=600.0)
        with delivering(hanging, webhook(good.url, "good"), settings=settings) as tested:
            tested.evaluate(alert("v0"))
            eventually(lambda: len(connections) == 1 and len(good.got) == 1)
            for number in range(1, 13):
                tested.evaluate(alert(f"v{number}"), after=1.0)
                eventually(partial(arrived, good, number + 1))
            assert tested.counts.bad == {"bad": 7}
            assert tested.log.of(Event.ALERT_DELIVERY_FAILED)[0]["error"] == "the queue was full"
            assert tested.log.of(Event.ALERT_DELIVERY_FAILED)[0]["view"] == "v1"
            tested.delivery.stop(0.0)


def heartbeat(url: str, name: str = "dead-man", **changes: Any) -> ReceiverSettings:
    return HeartbeatSettings(name, url=url, **changes)


def test_F10_a_dead_man_service_hears_every_cycle() -> None:
    """Start, success and failure go to their addresses; a stop or a skipped slot is no failure."""
    with receiver() as server, delivering(heartbeat(f"{server.url}/ping/CANARY?a=b")) as tested:
        done = replace(run(a=None), duration_seconds=1.23456, run_id=UUID(int=7))
        calls: list[tuple[str, Run | None]] = [
            ("start", done),
            ("success", done),
            ("fail", run(Outcome.SKIPPED, Reason.OVERLAP)),
            ("fail", run(Outcome.CANCELLED, Reason.SHUTDOWN)),
            ("fail", run(Outcome.TIMEOUT, Reason.TIMEOUT)),
            ("fail", None),
        ]
        for phase, subject in calls:
            tested.delivery.heartbeat(phase, subject)
            tested.settle()
        paths = [got.path for got in server.got]
        assert paths == [f"/ping/CANARY{tail}?a=b" for tail in ("/start", "", "/fail", "/fail")]
        facts: Mapping[str, object] = server.got[1].json
        assert facts == {
            "database": "shop",
            "phase": "success",
            "run_id": str(UUID(int=7)),
            "outcome": "ok",
            "duration_seconds": 1.235,
        }
        assert json.loads(server.got[2].body)["reason"] == "timeout"
        assert "CANARY" not in repr(tested.log.lines)


def test_F13_a_broken_store_holds_back_no_alert(caplog: pytest.LogCaptureFixture) -> None:
    """A store that raises what nobody expects holds back no alert, and is logged."""

    def fail() -> Never:
        raise ZeroDivisionError

    store = FakeDeliveryStore()
    store.on_load = fail
    with receiver() as server, delivering(webhook(server.url), store=store) as tested:
        tested.evaluate(alert())
        tested.settle()
        assert len(server.got) == 1
        assert "what was delivered cannot be read: ZeroDivisionError" in caplog.text
        assert tested.counts.bad == {}
        store.on_load = lambda: None
        tested.evaluate(alert())
        tested.settle()
        assert len(server.got) == 1


def test_H17_an_address_in_an_error_message_is_never_called() -> None:
    """Receivers come from the configuration alone: a URL in an alert's text is text."""
    with receiver() as elsewhere, receiver() as server, delivering(webhook(server.url)) as tested:
        tested.evaluate(alert(description=f"could not fetch {elsewhere.url}/x", summary=elsewhere.url))
        tested.settle()
        assert elsewhere.got == []
        assert elsewhere.url in server.got[0].json["description"]
