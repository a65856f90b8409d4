"""A run's attempts: what cancels them, how long they may go on, and by which settings they are judged."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from analytics_refreshd.app import retry_policy
from analytics_refreshd.app.health import HealthChecks
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Origin, Outcome, Reason
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.core.state import State
from tests.support.fakes import FakeRefresher, Step, fault
from tests.support.leading import BEGAN, VIEWS, Leading, started


def obeying(run_id: UUID, on_started: Callable[[int], None], cancelled: Callable[[], bool]) -> RefreshReply:
    """A step: a refresh that ends at once where it was cancelled before it could be reached."""
    if cancelled():
        raise fault(ErrorClass.CANCELLED)
    return started(run_id, on_started)


def test_a_lead_lost_while_the_pause_is_read_cancels_the_run() -> None:
    """Between the question who leads and the first attempt the lead may go: nothing is refreshed then."""
    replica = Leading(FakeRefresher(started))
    replica.status.on_question = replica.lose
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert (run.outcome, run.reason) == (Outcome.CANCELLED, Reason.NOT_LEADER)
    assert replica.refresher.refreshed == 0


def test_a_lead_lost_in_an_earlier_run_does_not_cancel_the_next() -> None:
    """Who leads again refreshes again."""
    replica = Leading(FakeRefresher(started))
    leads = replica.state.current.leadership
    replica.lose()
    assert replica.cycle.run(BEGAN) is None
    replica.state.change(lambda state: replace(state, leadership=leads))
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert run.outcome is Outcome.OK


def test_a_cancel_between_rebuild_and_refresh_reaches_the_refresh() -> None:
    """It finds neither of the two under way, and the refresh is told by what it asks."""
    replica = Leading(FakeRefresher(obeying))

    def losing(*given: Any) -> None:
        replica.lose()

    replica.refresher.rebuilding = losing
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert (run.outcome, run.reason) == (Outcome.CANCELLED, Reason.NOT_LEADER)


def test_a_cancel_before_the_rebuild_reaches_it() -> None:
    """A rebuild may take hours; it is told like the refresh."""
    replica = Leading(FakeRefresher(started))
    asked: list[bool] = []

    def rebuilding(run_id: UUID, on_started: Callable[[], None], cancelled: Callable[[], bool]) -> None:
        replica.attempts.stop()
        asked.append(cancelled())
        raise fault(ErrorClass.CANCELLED)

    replica.refresher.rebuilding = rebuilding
    run = replica.cycle.run(BEGAN)
    assert asked == [True]
    assert run is not None
    assert (run.outcome, run.reason) == (Outcome.CANCELLED, Reason.SHUTDOWN)


def test_a_run_is_judged_by_the_settings_that_it_began_with() -> None:
    """A view that a reload adds during a run is not missing from it, and breaks no contract."""
    replica = Leading(FakeRefresher(started))

    def reloading(*given: Any) -> RefreshReply:
        replica.attempts.settings = replace(replica.settings, views=(*VIEWS, "added"), isolation="view")
        return started(*given)

    replica.refresher.steps = [reloading]
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert run.outcome is Outcome.OK
    assert [result.view for result in run.views] == list(VIEWS)
    assert replica.state.current.run_problems == ()
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert (run.outcome, run.isolation) == (Outcome.PARTIAL, "view")


def lost_after(replica: Leading, seconds: float, *, committing: bool = False) -> Step:
    """A step: an attempt that loses its connection after so many seconds."""

    def step(*given: Any) -> RefreshReply:
        replica.clock.pass_by(seconds)
        raise fault(committing=committing)

    return step


@pytest.fixture
def unwaiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(retry_policy, "sleep_using_event", lambda stop: lambda seconds: None)


def alive(monotonic: float, state: State) -> State:
    """The state after a sign of life of the main thread and of the scheduler."""
    return replace(state, main_seen_monotonic=monotonic, scheduler_seen_monotonic=monotonic)


@pytest.mark.usefixtures("unwaiting")
def test_a_retry_late_in_its_slot_has_the_time_of_any_attempt() -> None:
    """It may end after its slot, by its own deadline; liveness must not take that for a hang."""
    replica = Leading(FakeRefresher(started))
    health = HealthChecks(replica.state, replica.clock)
    live: list[bool] = []

    def late(*given: Any) -> RefreshReply:
        for passed in (249.0, 32.0):
            replica.clock.pass_by(passed)
            replica.state.change(partial(alive, replica.clock.monotonic()))
            live.append(health.live()[0])
        return started(*given)

    replica.refresher.steps = [lost_after(replica, 240.0), late]
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert (run.outcome, run.attempts) == (Outcome.OK, 2)
    assert live == [True, False]
    assert replica.state.current.run_deadline_monotonic is None


@pytest.mark.usefixtures("unwaiting")
def test_a_rebuild_has_no_deadline_and_the_refresh_after_it_a_whole_one() -> None:
    """Building the rollups takes what the table takes; only then does the refresh's time begin."""
    replica = Leading(FakeRefresher(started))
    deadlines: list[float | None] = []

    def noted(*given: Any) -> RefreshReply:
        deadlines.append(replica.state.current.run_deadline_monotonic)
        return started(*given)

    def rebuilding(run_id: UUID, on_started: Callable[[], None], cancelled: Callable[[], bool]) -> str:
        deadlines.append(replica.state.current.run_deadline_monotonic)
        on_started()
        deadlines.append(replica.state.current.run_deadline_monotonic)
        replica.clock.pass_by(3600.0)
        return "a test"

    replica.refresher.steps, replica.refresher.rebuilding = [noted], rebuilding
    began = replica.clock.monotonic()
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert run.outcome is Outcome.OK
    assert deadlines == [began + 250.0, None, began + 3850.0]


@pytest.mark.usefixtures("unwaiting")
@pytest.mark.parametrize(
    ("seconds", "tries", "outcome"), [(10.0, 2, Outcome.OK), (280.0, 1, Outcome.UNKNOWN)], ids=["room", "no room"]
)
def test_a_lost_commit_is_settled_within_its_slot(seconds: float, tries: int, outcome: Outcome) -> None:
    """Another refresh settles it, where the slot has room for one; else the next slot's does, a moment later."""
    replica = Leading(FakeRefresher(started))
    replica.refresher.steps = [lost_after(replica, seconds, committing=True), started]
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert (run.outcome, run.attempts) == (outcome, tries)


@pytest.mark.usefixtures("unwaiting")
def test_a_lost_commit_before_an_overlap_is_not_skipped() -> None:
    """The next attempt may meet the first one, still at work behind the fence: nobody knows what became of it."""
    replica = Leading(FakeRefresher(started))

    def overlapping(*given: Any) -> RefreshReply:
        raise DatabaseFault("another session", error_class=ErrorClass.CONTENTION, reason=Reason.OVERLAP)

    replica.refresher.steps = [lost_after(replica, 1.0, committing=True), overlapping]
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert run.outcome is Outcome.UNKNOWN


def failing(replica: Leading, error_class: ErrorClass, reason: Reason = Reason.OTHER) -> Callable[..., RefreshReply]:
    """A step: an attempt that fails at once, for ever."""

    def step(*given: Any) -> RefreshReply:
        raise DatabaseFault("it failed", error_class=error_class, reason=reason)

    return step


def waits(replica: Leading) -> list[float]:
    """The seconds that each retry waited, as the log has them."""
    return [float(str(line["wait_seconds"])) for line in replica.log.of(Event.REFRESH_RETRY)]


@pytest.mark.usefixtures("unwaiting")
@pytest.mark.parametrize(
    ("error_class", "reason", "tries"),
    [
        (ErrorClass.CONN_LOST, Reason.CONN_LOST, 3),
        (ErrorClass.NOT_PRIMARY, Reason.NOT_PRIMARY, 3),
        (ErrorClass.CONTENTION, Reason.DEADLOCK, 2),
        (ErrorClass.CONTENTION, Reason.OVERLAP, 1),
        (ErrorClass.CANCELLED, Reason.TIMEOUT, 1),
        (ErrorClass.RESOURCE, Reason.DISK_FULL, 1),
        (ErrorClass.PERMANENT, Reason.UNDEFINED, 1),
    ],
)
def test_the_class_says_how_often_a_run_tries(error_class: ErrorClass, reason: Reason, tries: int) -> None:
    """Every further attempt is one line and one wait; another session's refresh is not waited for."""
    replica = Leading(FakeRefresher(started))
    replica.refresher.steps = [failing(replica, error_class, reason)]
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert replica.refresher.refreshed == tries
    assert len(waits(replica)) == tries - 1


def test_waits_double_up_to_eight_seconds_and_end_with_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stays away is asked all through the slot, at random within the upper half of each ceiling."""
    replica = Leading(FakeRefresher(started))

    def slept(seconds: float) -> None:
        replica.clock.pass_by(seconds)

    monkeypatch.setattr(retry_policy, "sleep_using_event", lambda stop: slept)
    replica.refresher.steps = [failing(replica, ErrorClass.CONNECT, Reason.CONNECT)]
    began = replica.clock.monotonic()
    run = replica.cycle.run(BEGAN)
    assert run is not None
    found = waits(replica)
    ceilings = [2.0, 4.0, *[8.0] * (len(found) - 2)]
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(found, ceilings, strict=True))
    assert len(set(found)) > 2
    # 300 s, less the second before the next slot and a tenth of the 250 s deadline
    assert 266.0 <= replica.clock.monotonic() - began < 274.0


@pytest.mark.usefixtures("unwaiting")
def test_a_command_tries_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person at a terminal is not kept for a slot."""
    replica = Leading(FakeRefresher(started))
    replica.refresher.steps = [failing(replica, ErrorClass.CONNECT, Reason.CONNECT)]
    replica.cycle.run(None, Origin.COMMAND)
    assert replica.refresher.refreshed == 3


@pytest.mark.usefixtures("unwaiting")
@pytest.mark.parametrize("lost", [True, False], ids=["lead lost", "stopped"])
def test_no_attempt_follows_a_cancel(lost: bool) -> None:
    """An attempt that fails while the run is cancelled is the last one, and no retry is told of."""
    replica = Leading(FakeRefresher(started))

    def cancelled(*given: Any) -> RefreshReply:
        (replica.lose if lost else replica.attempts.stop)()
        raise DatabaseFault("gone", error_class=ErrorClass.CONN_LOST, reason=Reason.CONN_LOST)

    replica.refresher.steps = [cancelled]
    replica.cycle.run(BEGAN)
    assert (replica.refresher.refreshed, waits(replica)) == (1, [])
