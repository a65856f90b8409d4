"""The state and its transitions, and what follows from it at a moment."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from analytics_refreshd.core.alerts.lifecycle import Alert
from analytics_refreshd.core.delta import Delta
from analytics_refreshd.core.leadership import Leadership
from analytics_refreshd.core.model import Blocker, DatabaseStatus, Limits, Outcome, Pause, Role, ViewResult, ViewStatus
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.staleness import Verdict
from analytics_refreshd.core.state import Source, State
from tests.support.alert_rules import found, seen
from tests.support.states import MONOTONIC, NOW, healthy, later, run_at

BLOCKER = Blocker(812, "etl", "nightly-etl", "active", None, None, None)


def state(**changes: object) -> State:
    return replace(healthy(("a", "b"), runs=()).state, **changes)  # type: ignore[arg-type]


def test_runs_are_kept_newest_first_and_bounded() -> None:
    """The oldest are forgotten beyond 1,500."""
    runs = [run_at(number, NOW + timedelta(minutes=number)) for number in range(1, 1503)]
    kept = state().with_runs(runs[:700]).with_runs(runs[700:]).runs
    assert (len(kept), kept[0].run_id, kept[-1].run_id) == (1500, UUID(int=1502), UUID(int=3))


OWN = Limits(view_interval_seconds={"a": 30.0}, shortest_interval_seconds=30.0)


def test_a_view_of_half_a_minute_has_a_day_of_runs() -> None:
    """More than that, and fewer than 1,500, are kept for no schedule."""
    for seconds, most in ((30.0, 2980), (1.0, 4000), (3600.0, 1500)):
        limits = replace(OWN, shortest_interval_seconds=seconds)
        runs = [run_at(number, NOW + timedelta(seconds=number), ["a"]) for number in range(most + 100)]
        assert len(state(limits=limits).with_runs(runs).runs) == most


def test_a_view_that_is_refreshed_rarely_keeps_its_last_results() -> None:
    """Of an hourly view there would be none among the runs of one that is refreshed every second."""
    limits = replace(OWN, shortest_interval_seconds=1.0)
    runs = [run_at(number, NOW + timedelta(seconds=number), ["a"]) for number in range(300, 4400)]
    rare = [run_at(number, NOW + timedelta(seconds=number), ["a", "b"]) for number in range(300)]
    kept = state(limits=limits).with_runs([*runs, *rare]).runs
    assert len(kept) == 4000 + 200
    assert [run for run in kept[4000:]] == rare[:99:-1]
    assert len(state().with_runs([*runs, *rare]).runs) == 1500


def test_a_run_that_ended_does_not_begin_again() -> None:
    """A reading of history that is older than what we know changes nothing; one that knows more does."""
    running = replace(run_at(1, NOW), outcome=None, blockers=(BLOCKER,))
    ended = run_at(1, NOW)
    known = state().with_runs([running]).with_runs([ended])
    assert (known.runs[0].outcome, known.runs[0].blockers) == (Outcome.OK, (BLOCKER,))
    assert known.with_runs([running]).runs == known.runs
    lost = state().with_runs([replace(ended, outcome=Outcome.UNKNOWN)])
    assert lost.with_runs([running]).runs[0].outcome is None


def test_own_successes_are_the_later_ones() -> None:
    """Failures leave what was; each success replaces its view's time."""
    later = NOW + timedelta(minutes=5)
    first = state().with_successes([ViewResult("a", True, finished_at=NOW), ViewResult("b", False)])
    second = first.with_successes([ViewResult("a", False), ViewResult("b", True, finished_at=later)])
    assert first.own_success == {"a": NOW}
    assert second.own_success == {"a": NOW, "b": later}


def test_an_outage_begins_once_and_is_remembered() -> None:
    """It counts from the first failure; later failures change its error alone; an answer ends it."""
    lost = state().database_lost(NOW, "refused").database_lost(NOW + timedelta(seconds=9), "timed out")
    assert (lost.database_down_since, lost.database_error, lost.database_up) == (NOW, "timed out", False)
    back = lost.database_answered(NOW + timedelta(minutes=1))
    assert (back.database_up, back.database_error) == (True, None)
    assert back.last_outage == (NOW, NOW + timedelta(minutes=1))
    assert back.database_answered(NOW + timedelta(minutes=2)) == back


def test_a_database_that_never_answered_is_not_up() -> None:
    """Before the first answer it is neither up nor lost."""
    fresh = state(database_reached=False)
    assert (fresh.database_up, fresh.database_down) == (False, False)
    assert fresh.database_answered(NOW).last_outage is None
    assert fresh.database_answered(NOW).database_up


def test_the_mode_is_plain_until_the_database_says_otherwise() -> None:
    """What nobody read is the usual."""
    assert (state().mode, state(delta=Delta("incremental")).mode) == ("plain", "incremental")


def test_problems_of_run_and_election_are_told_together() -> None:
    """Each finder clears its own."""
    assert state().contract_problems == ()
    assert state(run_problems=("x",), election_problem="y").contract_problems == ("x", "y")


@pytest.mark.parametrize(
    ("changes", "seconds", "role"),
    [
        ({}, 0.0, Role.LEADER),
        ({"leadership": Leadership(Role.LEADER, MONOTONIC + 10, 1)}, 10.0, Role.STANDBY),
        ({"leadership": Leadership(Role.STANDBY)}, 0.0, Role.STANDBY),
        ({"leadership": Leadership()}, 0.0, Role.STARTING),
        ({"draining": True}, 0.0, Role.DRAINING),
        ({"source": Source.DATABASE}, 0.0, None),
    ],
)
def test_the_role_at_a_moment(changes: dict[str, object], seconds: float, role: Role | None) -> None:
    """Trust runs out, a stop drains, and a state from the database alone has no role."""
    snapshot = later(Snapshot(state(**changes), NOW, MONOTONIC), seconds)
    assert (snapshot.role, snapshot.leads) == (role, role is Role.LEADER)


def test_a_pause_is_in_force_until_its_end() -> None:
    """By the server's clock, carried on since the last reading."""
    pause = Pause(NOW, NOW + timedelta(seconds=10), "upgrade")
    snapshot = Snapshot(state(pause=pause), NOW - timedelta(hours=2), MONOTONIC)
    assert snapshot.pause == pause
    assert later(snapshot, 9.9).pause == pause
    assert later(snapshot, 10.0).pause is None
    assert replace(snapshot, state=state()).pause is None


def test_an_age_grows_with_the_time_since_it_was_read() -> None:
    """None where the status was never read, or does not have the view; unknown stays unknown."""
    read = Snapshot(state(), NOW, MONOTONIC)
    for seconds, verdict in ((0.0, Verdict.FRESH), (400.0, Verdict.LATE), (600.0, Verdict.STALE)):
        moved = later(read, seconds)
        age = moved.age("a")
        assert age is not None
        assert age.seconds == 155.0 + seconds
        assert moved.views[0].verdict is verdict
    assert read.age("c") is None
    assert Snapshot(state(status=None), NOW, MONOTONIC).age("a") is None
    unknown = Snapshot(state(status=DatabaseStatus(NOW, (ViewStatus("a"),))), NOW, MONOTONIC)
    age = unknown.age("a")
    assert age is not None
    assert age.seconds is None


def test_without_a_reading_the_server_s_time_is_ours() -> None:
    """Nothing better is known."""
    assert Snapshot(state(status=None, evaluated_monotonic=None), NOW, MONOTONIC).server_now == NOW
    server_now = datetime(2026, 3, 1, 16, tzinfo=UTC)
    read = state(status=DatabaseStatus(server_now, ()), evaluated_monotonic=MONOTONIC - 5)
    assert Snapshot(read, NOW, MONOTONIC).server_now == server_now + timedelta(seconds=5)


def test_rows_are_the_status_function_s_else_the_last_refresh_s() -> None:
    """A function that fails takes no figure away that a run knows."""
    runs = (run_at(3, NOW, ("a", "b"), failed=("a",)), run_at(2, NOW - timedelta(minutes=5), ("a", "b")))
    told = Snapshot(state(runs=runs), NOW, MONOTONIC).views[0]
    silent = Snapshot(state(runs=runs, status=None), NOW, MONOTONIC).views
    assert told.rows == 12_345
    assert [view.rows for view in silent] == [1002, 1003]
    assert Snapshot(state(status=None), NOW, MONOTONIC).views[0].rows is None


def test_a_view_has_its_limits_runs_and_failures() -> None:
    """Sixty runs at most, oldest first; runs of other views are not its own."""
    runs = tuple(run_at(number, NOW - timedelta(minutes=number), ("a", "gone")) for number in range(70))
    a, b = Snapshot(state(runs=runs), NOW, MONOTONIC).views
    assert (len(a.recent), a.recent[-1][0].run_id, len(b.recent)) == (60, UUID(int=0), 0)
    assert (a.max_age_seconds, a.critical_age_seconds, a.slow_seconds) == (600.0, 1200.0, 5.0)
    assert (b.last, a.last_failure) == (None, None)
    failed = run_at(99, NOW, ("a",), failed=("a",))
    assert Snapshot(state(runs=(failed, *runs)), NOW, MONOTONIC).views[0].last_failure == (
        (failed, failed.views[0]),
        True,
    )


def test_a_standby_waits_twice_as_long_with_the_database_s_absence() -> None:
    """The last leader tells of it first."""
    alert = (Alert.DATABASE_UNAVAILABLE, "")
    assert found(seen(owns_missed_slots=True))[alert].for_seconds == 120.0
    assert found(seen(owns_missed_slots=False))[alert].for_seconds == 240.0


@pytest.mark.parametrize(("misses", "holds"), [(1, False), (2, False), (3, True)])
def test_a_status_function_may_fail_twice(misses: int, holds: bool) -> None:
    """The third failure in a row breaks the contract, as what breaks the incremental mode does at once."""
    broken = DatabaseStatus(NOW, (), "get_analytics_refresh_status() failed")
    condition = found(seen(status=broken, status_misses=misses))[Alert.CONTRACT_BROKEN, ""]
    assert condition.holds is holds
    inexact = found(seen(delta=Delta("incremental", verified_ok=False)))[Alert.CONTRACT_BROKEN, ""]
    assert inexact.holds is True
    assert "differ from the plain views" in inexact.description
