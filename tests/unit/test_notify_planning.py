"""What each receiver must be told now: once per change, again after the interval, never what nobody began."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Outcome, Reason
from analytics_refreshd.core.ports import DeliveryRecord
from analytics_refreshd.notify import alertmanager, webhook
from analytics_refreshd.notify.heartbeat import worth_a_ping
from analytics_refreshd.notify.ledger import Ledger
from analytics_refreshd.notify.messages import Message, Notice, notice
from analytics_refreshd.notify.settings import DeliverySettings
from tests.support.alert_rules import run
from tests.support.receivers import Clock, Store
from tests.support.replicas import LOCKED, NO_GRANT

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SETTINGS = DeliverySettings("shop")
Pair = tuple[str, str]


def alert(view: str = "v", *, firing: bool = True, severity: Severity = Severity.WARNING, ago: float = 60.0) -> Notice:
    state = AlertState.FIRING if firing else AlertState.RESOLVED
    began = NOW - timedelta(seconds=ago)
    return notice(AlertRecord(Alert.VIEW_STALE, view, state, severity, began, began, None if firing else NOW), SETTINGS)


def pair(item: Notice) -> Pair:
    return item.key, item.status


FIRING, WORSE, OVER = alert(), alert(severity=Severity.CRITICAL), alert(firing=False)


def messages(
    *notices: Notice,
    told: Iterable[Notice] = (),
    since: float = 0.0,
    on_the_way: Iterable[Notice] = (),
    offered: Iterable[str] = (),
) -> list[Message]:
    known = {pair(item): NOW - timedelta(seconds=since) for item in told}
    return webhook.plan(notices, known, {pair(item) for item in on_the_way}, set(offered), NOW, 3600.0)


def test_what_fires_is_told_once_and_again_after_the_interval() -> None:
    """New: at once; told: not before the interval is over, and then marked as a repeat."""
    assert messages(FIRING) == [Message((FIRING,), (FIRING,))]
    assert messages(FIRING, told=[FIRING], since=3599.9) == []
    assert messages(FIRING, told=[FIRING], since=3600.0) == [Message((FIRING,), (FIRING,), repeat=True)]
    assert messages(FIRING, on_the_way=[FIRING]) == []


def test_a_rise_in_severity_is_told() -> None:
    """Whoever was warned hears of it when the alert becomes critical, and that is no repeat."""
    assert messages(WORSE, told=[FIRING]) == [Message((WORSE,), (WORSE,))]


def test_an_end_is_told_to_those_who_heard_of_the_beginning() -> None:
    """Told or put on the way while it fired: resolved, once. Never told: nothing."""
    assert messages(OVER) == []
    assert messages(OVER, told=[FIRING]) == [Message((OVER,), (OVER,))]
    assert messages(OVER, offered=[FIRING.key]) == [Message((OVER,), (OVER,))]
    assert messages(OVER, told=[FIRING, OVER], since=9999.0) == []
    assert messages(OVER, told=[FIRING], on_the_way=[OVER]) == []
    assert messages(OVER, told=[alert("other")]) == []


def test_the_oldest_alert_goes_first() -> None:
    """Messages are in the order in which the alerts began."""
    young, old = alert("young", ago=1), alert("old", ago=100)
    assert messages(young, old) == [Message((old,), (old,)), Message((young,), (young,))]


def post(
    *notices: Notice,
    held: Iterable[Notice] = (),
    told: Iterable[Notice] = (),
    on_the_way: Iterable[Notice] = (),
    offered: Iterable[str] = (),
    resend: bool = False,
) -> list[Message]:
    known = {pair(item): NOW for item in told}
    way = {pair(item) for item in on_the_way}
    return alertmanager.plan(notices, list(held), known, way, set(offered), resend=resend)


def test_an_alertmanager_gets_everything_when_anything_changed() -> None:
    """One post with all that fires; nothing new and no resend due: no post."""
    old = alert("old")
    assert post(FIRING, old, told=[old]) == [Message((FIRING, old), (FIRING,), replaces=True)]
    assert post(FIRING, old, told=[old, FIRING]) == []
    assert post(FIRING, on_the_way=[FIRING]) == []
    assert post(FIRING, told=[FIRING], resend=True) == [Message((FIRING,), repeat=True, replaces=True)]
    assert post(resend=True) == []


def test_an_end_is_posted_and_repeated_only_beside_what_fires() -> None:
    """Resolved is posted once on its own; an end that nobody heard begin is not."""
    assert post(OVER) == []
    assert post(OVER, told=[FIRING]) == [Message((OVER,), (OVER,), replaces=True)]
    assert post(OVER, offered=[FIRING.key]) == [Message((OVER,), (OVER,), replaces=True)]
    assert post(OVER, told=[FIRING, OVER], resend=True) == []


def test_a_rise_in_severity_ends_the_alert_of_the_lower_one() -> None:
    """Severity is a label, so the Alertmanager has two alerts: the milder one is ended in the same post."""
    (message,) = post(WORSE, told=[FIRING])
    assert message.notices == (WORSE,)
    assert [(item.key, item.severity) for item in message.ended] == [(WORSE.key, "warning")]
    assert post(WORSE, told=[FIRING, WORSE], resend=True)[0].ended == ()


def test_what_is_held_back_is_kept_alive_where_it_was_told() -> None:
    """Inhibited: never told stays untold, told goes on being posted as firing, and neither is reason for a post."""
    told, untold = alert("told"), alert("untold")
    assert post(held=[told, untold], told=[told]) == []
    (message,) = post(held=[told, untold], told=[told], resend=True)
    assert message.notices == (told,)


@pytest.mark.parametrize(("resend", "evaluate", "expected"), [(60.0, 30.0, 60.0), (60.0, 300.0, 300.0)])
def test_posts_are_as_frequent_as_evaluations_allow(resend: float, evaluate: float, expected: float) -> None:
    """The end of an alert lies four posts ahead, however rarely alerts are evaluated."""
    settings = replace(SETTINGS, resend_seconds=resend, evaluate_every_seconds=evaluate)
    assert alertmanager.resend_seconds(settings) == expected


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
        for message in webhook.plan([item], told, set(), offered, NOW, 3600.0):
            offered |= {one.key for one in message.notices if one.firing}
            if what != "fail":
                heard.extend(pair(one) for one in message.notices)
                told |= {pair(one): NOW for one in message.notices}
    assert len(heard) == len(set(heard))
    for key, status in heard:
        assert status != "resolved" or (key in offered and heard[-1::-1].index((key, status)) >= 0)
        if status == "resolved":
            assert (key, "resolved") == [one for one in heard if one[0] == key][-1]


def test_a_stop_or_a_skipped_slot_is_no_failure() -> None:
    """A dead-man service must not page for a deployment."""
    assert not worth_a_ping("fail", run(Outcome.CANCELLED, Reason.SHUTDOWN))
    assert not worth_a_ping("fail", run(Outcome.SKIPPED, Reason.OVERLAP))
    assert not worth_a_ping("fail", run(Outcome.UNKNOWN, Reason.CONN_LOST))
    assert worth_a_ping("fail", run(Outcome.PARTIAL, a=Reason.LOCK_TIMEOUT))
    assert worth_a_ping("fail", None)
    assert worth_a_ping("start", run(None))
    assert worth_a_ping("success", run())


def test_the_ledger_survives_in_its_store() -> None:
    """What one process noted another one knows, once it has looked."""
    store, clock = Store(), Clock()
    Ledger(store, clock).note("r", [("k", "firing:warning")])
    other = Ledger(store, clock)
    assert not other.ready
    assert other.told("r") == {}
    other.load()
    assert other.ready
    assert other.told("r") == {("k", "firing:warning"): clock.now()}
    assert other.told("s") == {}


def test_the_ledger_is_read_once_and_again_when_outdated() -> None:
    """Several receivers' threads share one reading."""
    store, clock = Store(), Clock()
    ledger = Ledger(store, clock)
    for _ in range(3):
        ledger.load()
    assert store.loads == 1
    ledger.outdate()
    assert not ledger.ready
    ledger.load()
    assert (store.loads, ledger.ready) == (2, True)


def test_a_store_that_is_away_costs_nothing_but_time() -> None:
    """Notes are kept in memory and saved when the store is back, tried at most every half minute."""
    store, clock = Store(), Clock()
    ledger = Ledger(store, clock)
    store.away = True
    ledger.load()
    assert not ledger.ready
    ledger.note("r", [("k", "resolved")])
    assert ledger.told("r") == {("k", "resolved"): clock.now()}
    store.away = False
    ledger.save()
    assert store.records == {}
    clock.pass_by(30.0)
    ledger.save()
    assert store.records == {("r", "k", "resolved"): NOW}
    ledger.load()
    assert ledger.ready


@pytest.mark.parametrize(("fault", "patience"), [(NO_GRANT, 0.0), (LOCKED, 60.0)])
def test_a_store_that_alone_cannot_be_read_is_not_waited_for(fault: DatabaseFault, patience: float) -> None:
    """Where the database answers and its deliveries cannot be read, for good or for a minute, the memory counts."""

    class Broken(Store):
        def load(self) -> list[DeliveryRecord]:
            raise fault

    clock = Clock()
    ledger = Ledger(Broken(), clock)
    ledger.load()
    assert ledger.ready is (patience == 0.0)
    clock.pass_by(patience)
    ledger.load()
    assert ledger.ready


def test_the_ledger_forgets_what_is_long_over() -> None:
    """A month after the last message about it an episode is forgotten, so that memory stays bounded."""
    store, clock = Store(), Clock()
    ledger = Ledger(store, clock)
    ledger.note("r", [("old", "resolved")])
    clock.pass_by(31 * 86400.0)
    ledger.note("r", [("new", "resolved")])
    assert set(ledger.told("r")) == {("new", "resolved")}


def test_a_later_record_in_the_store_counts() -> None:
    """Of two replicas' records of one message the later counts for the repeat interval."""
    store, clock = Store(), Clock()
    ledger = Ledger(store, clock)
    ledger.note("r", [("k", "firing:warning")])
    store.records["r", "k", "firing:warning"] = NOW + timedelta(hours=1)
    ledger.load()
    assert ledger.told("r") == {("k", "firing:warning"): NOW + timedelta(hours=1)}
