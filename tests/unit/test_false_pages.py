"""Nobody is woken for what is over, for what a standby cannot know, or at a time that never was."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Condition, Severity, resolved, step
from analytics_refreshd.core.alerts.rules import conditions
from analytics_refreshd.core.errors import not_writable
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import LeaderInfo, Run
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.core.snapshot import Snapshot
from tests.support.fakes import FakeClock, FakeRefresher, RecordingLog
from tests.support.leading import BEGAN, Leading, holder, started
from tests.support.replicas import AWAY, LOCKED, Replica, Shared, time_passes
from tests.support.replicas import started as replica

pytestmark = pytest.mark.fault

STALE = (Alert.VIEW_STALE, AlertState.FIRING)
LONG_SECONDS = 3600.0


def fails_to_write(run: Run) -> None:
    """A history that is locked."""
    raise LOCKED


def told_while(clock: FakeClock, replicas: list[Replica], seconds: float) -> list[tuple[Alert, AlertState]]:
    """Everything that replicas tell while time passes."""
    told = []
    for _ in range(round(seconds / 30)):
        time_passes(clock, replicas, seconds=30)
        told += [each for one in replicas for each in one.told]
    return told


@pytest.mark.parametrize("nobody_between", [False, True], ids=["at once", "after a moment without a leader"])
@pytest.mark.parametrize("led_before", [False, True], ids=["never led", "led before"])
def test_L15_a_change_of_leader_on_an_older_install_pages_nobody(
    clock: FakeClock, led_before: bool, nobody_between: bool
) -> None:
    """Only the leader knows its refreshes: who waited for an hour and takes over has not seen a view go stale."""
    database = Shared(clock, remembers=False)
    one = replica(database, "one")
    two = replica(database, "two")
    if led_before:
        database.holder = LeaderInfo("two", 1)
        two.beat()
        two.refresh()
        database.holder = LeaderInfo("one", 1)
    for _ in range(round(LONG_SECONDS / 300)):
        assert told_while(clock, [one, two], 300) == []
        one.refresh()
    if nobody_between:
        database.holder = None
        two.lock.slow = True
        two.beat()
    database.holder = LeaderInfo("two", 1)
    clock.pass_by(1.0)
    two.beat()
    two.evaluate()
    assert two.told == []
    two.refresh()
    assert told_while(clock, [two], 300) == []


@pytest.mark.parametrize("tries", [False, True], ids=["never tries", "fails"])
def test_L15_a_new_leader_that_refreshes_nothing_tells_so(clock: FakeClock, tries: bool) -> None:
    """Its own waiting counts from its lead on, and one that led before has no longer excuse than its first run."""
    database = Shared(clock, remembers=False)
    one = replica(database, "one")
    two = replica(database, "two")
    for _ in range(round(LONG_SECONDS / 300)):
        time_passes(clock, [one, two], seconds=300)
        one.refresh()
    database.holder = LeaderInfo("two", 1)
    clock.pass_by(1.0)
    one.beat()
    two.beat()
    if tries:
        two.refresh(success=False)
    assert STALE in told_while(clock, [two], 660)
    database.holder = LeaderInfo("one", 1)
    one.beat()
    assert STALE not in told_while(clock, [one], 30)
    if tries:
        one.refresh(success=False)
    assert STALE in told_while(clock, [one], 660)


def test_L15_a_lead_that_comes_back_late_after_an_outage_has_its_first_run_before_it(clock: FakeClock) -> None:
    """Without the lead nothing can be refreshed: the two intervals to do it count from then, and once only."""
    database = Shared(clock)
    leader = replica(database, "one")
    leader.refresh()
    database.away, database.holder = True, None
    time_passes(clock, [leader], seconds=LONG_SECONDS)
    database.away, leader.lock.slow, database.view_age_seconds = False, True, LONG_SECONDS
    leader.beat()
    leader.evaluate()
    time_passes(clock, [leader], seconds=540)
    leader.lock.slow = False
    assert STALE not in told_while(clock, [leader], 570)
    assert STALE in told_while(clock, [leader], 120)


def test_L15_what_failed_in_an_earlier_lead_tells_nothing_of_now(clock: FakeClock) -> None:
    """On an older install: what another replica did since, which is unknown here, may have been well."""
    database = Shared(clock, remembers=False)
    one, two = replica(database, "one"), replica(database, "two")
    failed = (Alert.REFRESH_FAILED, AlertState.FIRING)
    database.holder = LeaderInfo("two", 1)
    two.beat()
    for _ in range(2):
        two.refresh(success=False)
    two.evaluate()
    assert failed in two.told
    database.holder = LeaderInfo("one", 1)
    one.beat()
    one.refresh()
    assert told_while(clock, [one, two], 60) == [(Alert.REFRESH_FAILED, AlertState.RESOLVED)] * 2
    database.holder = LeaderInfo("two", 1)
    two.beat()
    two.evaluate()
    assert failed not in two.told
    for _ in range(2):
        two.refresh(success=False)
    two.evaluate()
    assert failed in two.told


def test_L15_a_success_of_an_earlier_lead_tells_no_age_of_now(clock: FakeClock) -> None:
    """On an older install: who takes the lead again, and fails at once, has not seen a view go stale."""
    database = Shared(clock, remembers=False)
    one, two = replica(database, "one"), replica(database, "two")
    database.holder = LeaderInfo("two", 1)
    two.beat()
    two.refresh()
    database.holder = LeaderInfo("one", 1)
    time_passes(clock, [one, two], seconds=LONG_SECONDS)
    database.holder = LeaderInfo("two", 1)
    two.beat()
    two.refresh(success=False)
    assert STALE not in told_while(clock, [two], 570)
    assert STALE in told_while(clock, [two], 90)


def test_L15_who_takes_the_lead_again_tries_before_it_tells_of_old_views(clock: FakeClock) -> None:
    """On an older install another replica may have led for a moment, and refreshed, without being seen."""
    database = Shared(clock, remembers=False)
    leader = replica(database, "one")
    leader.refresh()
    time_passes(clock, [leader], seconds=300)
    database.holder, leader.lock.slow = None, True
    time_passes(clock, [leader], seconds=360)
    assert not leader.state.leads()
    leader.lock.slow = False
    assert STALE not in told_while(clock, [leader], 480)
    assert STALE in told_while(clock, [leader], 120)


def test_a_replica_that_waits_asks_often_while_nobody_leads(clock: FakeClock) -> None:
    """The lock of a session that has just been ended may be held for a moment, and then by nobody."""
    database = Shared(clock)
    one, two = replica(database, "one"), replica(database, "two")
    assert (one.beat(), two.beat()) == (5.0, 5.0)
    database.holder, two.lock.slow = None, True
    assert two.beat() == 1.0


def test_L15_a_lead_of_another_during_an_outage_is_seen(clock: FakeClock) -> None:
    """Who gets no session asks again soon: another that gets one may lead, refresh, and lose it."""
    database = Shared(clock, remembers=False)
    one, two = replica(database, "one"), replica(database, "two")
    one.refresh()
    database.holder, database.away = None, True
    assert [one.beat() for _ in range(16)] == [1.0] + [2.0] * 14 + [5.0]
    database.away = False
    two.beat()
    one.beat()
    assert one.state.current.own_success == {}
    database.away = True
    assert one.beat() == 2.0


@pytest.mark.parametrize("remembers", [True, False])
def test_L15_what_a_run_of_an_earlier_lead_found_tells_nothing_of_now(clock: FakeClock, remembers: bool) -> None:
    """A function that broke the contract may have been replaced while another replica led."""
    database = Shared(clock, remembers=remembers)
    one, two = replica(database, "one"), replica(database, "two")
    two.state.change(lambda state: replace(state, run_problems=("returns nothing",)))
    database.holder = LeaderInfo("one", 1)
    one.beat()
    two.beat()
    one.refresh()
    database.holder = LeaderInfo("two", 1)
    two.beat()
    assert (Alert.CONTRACT_BROKEN, AlertState.FIRING) not in told_while(clock, [two], 120)


def test_L15_an_outage_is_no_history_that_fails(clock: FakeClock) -> None:
    """What waited for the database is written first; what fails all the same counts from the outage's end."""
    database = Shared(clock)
    leader = replica(database, "one")
    leader.history.on_finish = fails_to_write
    leader.refresh()
    database.away = True
    time_passes(clock, [leader], seconds=LONG_SECONDS)
    database.away = False
    leader.beat()
    leader.evaluate()
    assert (Alert.HISTORY_FAILING, AlertState.FIRING) not in leader.told
    assert (Alert.HISTORY_FAILING, AlertState.FIRING) not in told_while(clock, [leader], 840)
    assert (Alert.HISTORY_FAILING, AlertState.FIRING) in told_while(clock, [leader], 120)
    leader.history.on_finish = lambda run: None


def test_L15_what_waited_for_the_database_alone_is_over_with_the_outage(clock: FakeClock) -> None:
    """Where any failure to write is told at once, the evaluation that ends the outage writes first."""
    database = Shared(clock)
    leader = replica(database, "one")
    limits = replace(leader.state.current.limits, history_failing_for_seconds=0.0)
    leader.state.change(lambda state: replace(state, limits=limits))
    database.away = True
    leader.history.on_finish = lambda run: database.answer()
    leader.refresh()
    leader.evaluate()
    clock.pass_by(600.0)
    database.away = False
    leader.evaluate()
    assert (Alert.HISTORY_FAILING, AlertState.FIRING) not in leader.told
    assert leader.state.current.history_failing_since is None


def test_L15_nobody_leads_counts_from_the_outages_end(clock: FakeClock) -> None:
    """While the database is away nobody can lead."""
    database = Shared(clock)
    standby = replica(database, "one")
    database.holder = None
    standby.lock.fault = LOCKED
    standby.state.change(lambda state: replace(state, leader=None))
    time_passes(clock, [standby], seconds=60)
    database.away = True
    time_passes(clock, [standby], seconds=LONG_SECONDS)
    database.away = False
    standby.beat()
    standby.evaluate()
    assert (Alert.NO_LEADER, AlertState.FIRING) not in standby.told
    assert (Alert.NO_LEADER, AlertState.FIRING) in told_while(clock, [standby], 660)


def test_L15_a_view_never_refreshed_before_an_outage_gets_its_first_run_after_it(clock: FakeClock) -> None:
    """An age unknown before and after the outage is no reason to wake anybody in the moment that ends it."""
    database = Shared(clock, remembers=False)
    leader = replica(database, "one")
    time_passes(clock, [leader], seconds=120)
    database.away = True
    time_passes(clock, [leader], seconds=LONG_SECONDS)
    database.away = False
    leader.beat()
    leader.evaluate()
    assert STALE not in leader.told
    leader.refresh()
    assert STALE not in told_while(clock, [leader], 300)


def holds(snapshot: Snapshot) -> bool | None:
    """Whether the view is stale."""
    (found,) = [one.holds for one in conditions(snapshot) if one.alert is Alert.VIEW_STALE]
    return found


def test_L15_a_success_counts_from_the_moment_it_is_known(clock: FakeClock) -> None:
    """A status read before the refresh ended does not raise what the refresh just ended."""
    database = Shared(clock)
    database.view_age_seconds = LONG_SECONDS
    leader = replica(database, "one")
    assert holds(leader.state.snapshot()) is True
    clock.pass_by(5.0)
    leader.refresh()
    snapshot = leader.state.snapshot()
    age = snapshot.age("v")
    assert age is not None
    assert (holds(snapshot), age.seconds, age.source) == (False, 0.0, "record")
    clock.pass_by(40.0)
    later = leader.state.snapshot().age("v")
    assert later is not None
    assert later.seconds == 40.0


def test_L15_a_success_dated_in_the_future_is_not_believed(clock: FakeClock) -> None:
    """After the server's clock was set back, what this process noted before would look fresh for ever."""
    database = Shared(clock)
    database.view_age_seconds = LONG_SECONDS
    leader = replica(database, "one")
    future = clock.now() + timedelta(hours=2)
    leader.state.change(lambda state: replace(state, own_success={"v": future}))
    age = leader.state.snapshot().age("v")
    assert age is not None
    assert age.seconds == LONG_SECONDS
    assert age.doubt is not None
    assert age.doubt.endswith("our own record lies in the future")


@pytest.mark.parametrize("slow_seconds", [0.0, 9.0, 40.0])
def test_L15_a_slow_reading_puts_no_alert_into_the_future(clock: FakeClock, slow_seconds: float) -> None:
    """The status function takes its time before the server's clock is read: the alerts' times are the server's."""
    database = Shared(clock)
    leader = replica(database, "one")
    times: list[tuple[datetime, AlertRecord]] = []

    def slowly() -> None:
        clock.pass_by(slow_seconds)
        database.on_question = database.answer
        leader.beat()

    for age in (LONG_SECONDS, 1.0, LONG_SECONDS, 1.0):
        database.view_age_seconds = age
        database.on_question = slowly if age > 1.0 else database.answer
        leader.beat()
        leader.evaluate()
        times += [(clock.now(), record) for record in leader.notifier.told]
        clock.pass_by(1.0)
    assert {record.state for _, record in times} == {AlertState.FIRING, AlertState.RESOLVED}
    for now, record in times:
        assert record.fired_at is not None
        assert record.active_at <= record.fired_at <= (record.resolved_at or now) <= now


def test_L15_no_alert_is_resolved_before_it_fired(clock: FakeClock) -> None:
    """A clock that is set back moves the end, not the order."""
    now = clock.now()
    record = AlertRecord(Alert.VIEW_STALE, "v", AlertState.FIRING, Severity.WARNING, now, now)
    assert resolved(record, now - timedelta(hours=1)).resolved_at == now


def test_L15_an_outage_that_began_anew_between_two_looks_counts_from_then(clock: FakeClock) -> None:
    """Where the rule knows a later begin than the pending record, that counts: two short outages are not a long one."""
    now = clock.now()
    first = Condition(Alert.DATABASE_UNAVAILABLE, "", True, for_seconds=120.0, since=now)
    pending = step(None, first, now).record
    again = replace(first, since=now + timedelta(seconds=110))
    found = step(pending, again, now + timedelta(seconds=125)).record
    assert found is not None
    assert (found.state, found.active_at) == (AlertState.PENDING, now + timedelta(seconds=110))


def test_L14_old_sessions_that_answer_do_not_end_what_keeps_new_ones_out(clock: FakeClock) -> None:
    """A refused connection is over with the next one made: until then it is one outage, however often others answer."""
    state, log, made = holder(("v",), clock), RecordingLog(), [3]
    database = DatabaseAvailability(state, log, lambda: made[0])
    database.answered()
    for _ in range(40):
        database.failed(AWAY)
        clock.pass_by(5.0)
        database.answered()
    made[0] += 1
    assert state.current.database_up is False
    database.answered()
    assert [event for event, _ in log.lines] == [Event.DATABASE_LOST, Event.DATABASE_RESTORED]


def test_L14_a_run_that_began_before_the_loss_does_not_end_it() -> None:
    """Its transaction was open when the server stopped taking new ones: that it ended well says nothing of now."""

    def lost_meanwhile(run_id: UUID, on_started: Callable[[int], None], *given: Any) -> RefreshReply:
        leading.clock.pass_by(5.0)
        leading.database.failed(not_writable())
        return started(run_id, on_started)

    leading = Leading(FakeRefresher(lost_meanwhile, started))
    leading.cycle.run(BEGAN)
    assert leading.database.down
    leading.clock.pass_by(5.0)
    leading.cycle.run(BEGAN)
    assert not leading.database.down


def test_L07_why_the_p95_is_unknown_is_logged_once(clock: FakeClock) -> None:
    """One line names what to do, however often the figures are read; another reason is another line."""
    database = Shared(clock)
    database.latency_problem = "GRANT SELECT"
    leader = replica(database, "one")
    for problem in ("GRANT SELECT", "too slow", None, None, "GRANT SELECT"):
        database.latency_problem = problem
        clock.pass_by(30.0)
        leader.refresh()
        leader.evaluate()
    lines = [fields["message"].rpartition(": ")[2] for fields in leader.log.of(Event.LIBRARY_MESSAGE)]
    assert lines == ["GRANT SELECT", "too slow", "GRANT SELECT"]
