"""A run's attempts: what cancels them, how long they may go on, and by which settings they are judged."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from analytics_refreshd.core.errors import ErrorClass
from analytics_refreshd.core.model import Outcome, Reason
from analytics_refreshd.core.ports import RefreshReply
from tests.support.fakes import BEGAN, VIEWS, Leading, Scripted, fault, started


def obeying(run_id: UUID, on_started: Callable[[int], None], cancelled: Callable[[], bool]) -> RefreshReply:
    """A step: a refresh that ends at once where it was cancelled before it could be reached."""
    if cancelled():
        raise fault(ErrorClass.CANCELLED)
    return started(run_id, on_started)


def test_a_lead_lost_while_the_pause_is_read_cancels_the_run() -> None:
    """Between the question who leads and the first attempt the lead may go: nothing is refreshed then."""
    replica = Leading(Scripted(started))
    replica.status.on_pause = replica.lose
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert (run.outcome, run.reason) == (Outcome.CANCELLED, Reason.NOT_LEADER)
    assert replica.refresher.refreshed == 0


def test_a_lead_lost_in_an_earlier_run_does_not_cancel_the_next() -> None:
    """Who leads again refreshes again."""
    replica = Leading(Scripted(started))
    leads = replica.memory.facts().leadership
    replica.lose()
    assert replica.cycle.run(BEGAN) is None
    replica.memory.update(leadership=leads)
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert run.outcome is Outcome.OK


def test_a_cancel_between_rebuild_and_refresh_reaches_the_refresh() -> None:
    """It finds neither of the two under way, and the refresh is told by what it asks."""
    replica = Leading(Scripted(obeying))

    def losing(*given: Any) -> None:
        replica.lose()

    replica.refresher.rebuilding = losing
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert (run.outcome, run.reason) == (Outcome.CANCELLED, Reason.NOT_LEADER)


def test_a_cancel_before_the_rebuild_reaches_it() -> None:
    """A rebuild may take hours; it is told like the refresh."""
    replica = Leading(Scripted(started))
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
    replica = Leading(Scripted(started))

    def reloading(*given: Any) -> RefreshReply:
        replica.attempts.settings = replace(replica.settings, views=(*VIEWS, "added"), isolation="view")
        return started(*given)

    replica.refresher.steps = [reloading]
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert run.outcome is Outcome.OK
    assert [result.view for result in run.views] == list(VIEWS)
    assert replica.memory.facts().problems == ()
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert (run.outcome, run.isolation) == (Outcome.PARTIAL, "view")
