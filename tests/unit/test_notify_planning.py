"""What each receiver must be told now: once per change, again after the interval, never what nobody began."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Outcome, Reason
from analytics_refreshd.notify.deduplication import DeliveryCache
from analytics_refreshd.notify.messages import Message, Notification, notification
from analytics_refreshd.notify.planning import Delivered, PlanInput, one_message_per_alert
from analytics_refreshd.notify.receivers.alertmanager import AlertmanagerReceiver, AlertmanagerSettings, resend_seconds
from analytics_refreshd.notify.receivers.heartbeat import HeartbeatReceiver, HeartbeatSettings
from analytics_refreshd.notify.settings import DeliverySettings
from tests.support.alert_rules import run
from tests.support.fakes import FakeClock, FakeDeliveryStore
from tests.support.replicas import LOCKED, NO_GRANT

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SETTINGS = DeliverySettings("shop")
Pair = tuple[str, str]


def alert(
    view: str = "v", *, firing: bool = True, severity: Severity = Severity.WARNING, ago: float = 60.0
) -> Notification:
    state = AlertState.FIRING if firing else AlertState.RESOLVED
    began = NOW - timedelta(seconds=ago)
    return notification(
        AlertRecord(Alert.VIEW_STALE, view, state, severity, began, began, None if firing else NOW), SETTINGS
    )


def pair(item: Notification) -> Pair:
    return item.key, item.status


def plan_input(
    alerts: Iterable[Notification] = (),
    inhibited: Iterable[Notification] = (),
    delivered: Delivered | None = None,
    in_flight: Iterable[Notification] = (),
    offered: Iterable[str] = (),
    since_delivery_seconds: float | None = None,
) -> PlanInput:
    way = frozenset(pair(item) for item in in_flight)
    held = tuple(inhibited)
    return PlanInput(tuple(alerts), held, delivered or {}, way, frozenset(offered), NOW, since_delivery_seconds)


MANAGER = AlertmanagerReceiver(AlertmanagerSettings("am", url="http://h"), SETTINGS, FakeClock())
FIRING, WORSE, OVER = alert(), alert(severity=Severity.CRITICAL), alert(firing=False)


def messages(
    *alerts: Notification,
    delivered: Iterable[Notification] = (),
    since: float = 0.0,
    in_flight: Iterable[Notification] = (),
    offered: Iterable[str] = (),
) -> list[Message]:
    known = {pair(item): NOW - timedelta(seconds=since) for item in delivered}
    return one_message_per_alert(plan_input(alerts, delivered=known, in_flight=in_flight, offered=offered), 3600.0)


def test_what_fires_is_told_once_and_again_after_the_interval() -> None:
    """New: at once; told: not before the interval is over, and then marked as a repeat."""
    assert messages(FIRING) == [Message((FIRING,), (FIRING,))]
    assert messages(FIRING, delivered=[FIRING], since=3599.9) == []
    assert messages(FIRING, delivered=[FIRING], since=3600.0) == [Message((FIRING,), (FIRING,), repeat=True)]
    assert messages(FIRING, in_flight=[FIRING]) == []


def test_a_rise_in_severity_is_told() -> None:
    """Whoever was warned hears of it when the alert becomes critical, and that is no repeat."""
    assert messages(WORSE, delivered=[FIRING]) == [Message((WORSE,), (WORSE,))]


def test_an_end_is_told_to_those_who_heard_of_the_beginning() -> None:
    """Told or put on the way while it fired: resolved, once. Never told: nothing."""
    assert messages(OVER) == []
    assert messages(OVER, delivered=[FIRING]) == [Message((OVER,), (OVER,))]
    assert messages(OVER, offered=[FIRING.key]) == [Message((OVER,), (OVER,))]
    assert messages(OVER, delivered=[FIRING, OVER], since=9999.0) == []
    assert messages(OVER, delivered=[FIRING], in_flight=[OVER]) == []
    assert messages(OVER, delivered=[alert("other")]) == []


def test_the_oldest_alert_goes_first() -> None:
    """Messages are in the order in which the alerts began."""
    young, old = alert("young", ago=1), alert("old", ago=100)
    assert messages(young, old) == [Message((old,), (old,)), Message((young,), (young,))]


def post(
    *alerts: Notification,
    inhibited: Iterable[Notification] = (),
    delivered: Iterable[Notification] = (),
    in_flight: Iterable[Notification] = (),
    offered: Iterable[str] = (),
    resend: bool = False,
) -> list[Message]:
    known = {pair(item): NOW for item in delivered}
    since = None if resend else 0.0
    return MANAGER.plan(plan_input(alerts, inhibited, known, in_flight, offered, since))


def test_an_alertmanager_gets_everything_when_anything_changed() -> None:
    """One post with all that fires; nothing new and no resend due: no post."""
    old = alert("old")
    assert post(FIRING, old, delivered=[old]) == [Message((FIRING, old), (FIRING,), replaces=True)]
    assert post(FIRING, old, delivered=[old, FIRING]) == []
    assert post(FIRING, in_flight=[FIRING]) == []
    assert post(FIRING, delivered=[FIRING], resend=True) == [Message((FIRING,), repeat=True, replaces=True)]
    assert post(resend=True) == []


def test_an_end_is_posted_and_repeated_only_beside_what_fires() -> None:
    """Resolved is posted once on its own; an end that nobody heard begin is not."""
    assert post(OVER) == []
    assert post(OVER, delivered=[FIRING]) == [Message((OVER,), (OVER,), replaces=True)]
    assert post(OVER, offered=[FIRING.key]) == [Message((OVER,), (OVER,), replaces=True)]
    assert post(OVER, delivered=[FIRING, OVER], resend=True) == []


def test_a_rise_in_severity_ends_the_alert_of_the_lower_one() -> None:
    """Severity is a label, so the Alertmanager has two alerts: the milder one is ended in the same post."""
    (message,) = post(WORSE, delivered=[FIRING])
    assert message.notifications == (WORSE,)
    assert [(item.key, item.severity) for item in message.superseded] == [(WORSE.key, "warning")]
    assert post(WORSE, delivered=[FIRING, WORSE], resend=True)[0].superseded == ()


def test_what_is_held_back_is_kept_alive_where_it_was_told() -> None:
    """Inhibited: never told stays untold, told goes on being posted as firing, and neither is reason for a post."""
    told, untold = alert("told"), alert("untold")
    assert post(inhibited=[told, untold], delivered=[told]) == []
    (message,) = post(inhibited=[told, untold], delivered=[told], resend=True)
    assert message.notifications == (told,)


@pytest.mark.parametrize(("resend", "evaluate", "expected"), [(60.0, 30.0, 60.0), (60.0, 300.0, 300.0)])
def test_posts_are_as_frequent_as_evaluations_allow(resend: float, evaluate: float, expected: float) -> None:
    """The end of an alert lies four posts ahead, however rarely alerts are evaluated."""
    settings = replace(SETTINGS, resend_seconds=resend, evaluate_every_seconds=evaluate)
    assert resend_seconds(settings) == expected


@given(st.lists(st.tuples(st.sampled_from(["fire", "rise", "end", "fail"]), st.integers(1, 3)), max_size=30))
def test_no_receiver_hears_of_an_end_without_a_beginning_nor_of_anything_twice(steps: list[tuple[str, int]]) -> None:
    """Whatever happens, within the interval each status of an episode is accepted at most once, the end last."""
    told: dict[Pair, datetime] = {}
    heard: list[Pair] = []
    offered: set[str] = set()
    ended: set[int] = set()
    for what, number in steps:
        item = alert(f"v{number}", severity=Severity.CRITICAL if what == "rise" else Severity.WARNING)
        if what == "end":
            item = alert(f"v{number}", firing=False)
            ended.add(number)
        elif number in ended:
            continue
        for message in one_message_per_alert(plan_input([item], delivered=told, offered=offered), 3600.0):
            offered |= {one.key for one in message.notifications if one.firing}
            if what != "fail":
                heard.extend(pair(one) for one in message.notifications)
                told |= {pair(one): NOW for one in message.notifications}
    assert len(heard) == len(set(heard))
    for key, status in heard:
        assert status != "resolved" or (key in offered and heard[-1::-1].index((key, status)) >= 0)
        if status == "resolved":
            assert (key, "resolved") == [one for one in heard if one[0] == key][-1]


def test_a_stop_or_a_skipped_slot_is_no_failure() -> None:
    """A dead-man service must not page for a deployment."""
    heartbeat = HeartbeatReceiver(HeartbeatSettings("dead-man", url="http://h"), SETTINGS, FakeClock())
    assert heartbeat.ping("fail", run(Outcome.CANCELLED, Reason.SHUTDOWN)) is None
    assert heartbeat.ping("fail", run(Outcome.SKIPPED, Reason.OVERLAP)) is None
    assert heartbeat.ping("fail", run(Outcome.UNKNOWN, Reason.CONN_LOST)) is None
    assert heartbeat.ping("fail", run(Outcome.PARTIAL, a=Reason.LOCK_TIMEOUT))
    assert heartbeat.ping("fail", None)
    assert heartbeat.ping("start", run(None))
    assert heartbeat.ping("success", run())


def test_the_cache_survives_in_its_store() -> None:
    """What one process noted another one knows, once it has looked."""
    store, clock = FakeDeliveryStore(), FakeClock()
    DeliveryCache(store, clock).record("r", [("k", "firing:warning")])
    other = DeliveryCache(store, clock)
    assert other.delivered("r") == {}
    assert not other.ready
    other.load()
    assert other.delivered("r") == {("k", "firing:warning"): clock.now()}
    assert other.delivered("s") == {}


def test_the_cache_is_read_once_and_again_when_invalidated() -> None:
    """Several receivers' threads share one reading."""
    store, clock = FakeDeliveryStore(), FakeClock()
    cache = DeliveryCache(store, clock)
    for _ in range(3):
        cache.load()
    assert store.loads == 1
    cache.invalidate()
    assert not cache.ready
    cache.load()
    assert (store.loads, cache.ready) == (2, True)


def test_a_store_that_is_away_costs_nothing_but_time() -> None:
    """Notes are kept in memory and saved when the store is back, tried at most every half minute."""
    store, clock = FakeDeliveryStore(), FakeClock()
    cache = DeliveryCache(store, clock)
    store.away = True
    cache.load()
    assert not cache.ready
    cache.record("r", [("k", "resolved")])
    assert cache.delivered("r") == {("k", "resolved"): clock.now()}
    store.away = False
    cache.save()
    assert store.records == {}
    clock.pass_by(30.0)
    cache.save()
    assert store.records == {("r", "k", "resolved"): NOW}
    cache.load()
    assert cache.ready


@pytest.mark.parametrize(("fault", "patience"), [(NO_GRANT, 0.0), (LOCKED, 60.0)])
def test_a_store_that_alone_cannot_be_read_is_not_waited_for(fault: DatabaseFault, patience: float) -> None:
    """Where the database answers and its deliveries cannot be read, for good or for a minute, the memory counts."""

    def refuse() -> Never:
        raise fault

    store, clock = FakeDeliveryStore(), FakeClock()
    store.on_load = refuse
    cache = DeliveryCache(store, clock)
    cache.load()
    assert cache.ready is (patience == 0.0)
    clock.pass_by(patience)
    cache.load()
    assert cache.ready


def test_the_cache_forgets_what_is_long_over() -> None:
    """A month after the last message about it an episode is forgotten, so that memory stays bounded."""
    store, clock = FakeDeliveryStore(), FakeClock()
    cache = DeliveryCache(store, clock)
    cache.record("r", [("old", "resolved")])
    clock.pass_by(31 * 86400.0)
    cache.record("r", [("new", "resolved")])
    assert set(cache.delivered("r")) == {("new", "resolved")}


def test_a_later_record_in_the_store_counts() -> None:
    """Of two replicas' records of one message the later counts for the repeat interval."""
    store, clock = FakeDeliveryStore(), FakeClock()
    cache = DeliveryCache(store, clock)
    cache.record("r", [("k", "firing:warning")])
    store.records["r", "k", "firing:warning"] = NOW + timedelta(hours=1)
    cache.load()
    assert cache.delivered("r") == {("k", "firing:warning"): NOW + timedelta(hours=1)}
