"""One tick's work: whatever raises, the slot is accounted for."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Never

import pytest

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Origin, Outcome, Reason, ViewReport
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.core.schedule import ViewTimes
from tests.support.fakes import FakeRefresher
from tests.support.leading import BEGAN, VIEWS, Leading, reply, started


def crash(*given: Any) -> Never:
    """What no part is supposed to raise."""
    raise RuntimeError("password=CANARY-7f3a")


def test_a_defect_in_a_run_is_a_failed_run() -> None:
    """Log, metrics and history have the slot's run, with one line each for the run and the defect."""
    replica = Leading(FakeRefresher(started))
    replica.refresher.steps = [crash]
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert (run.outcome, run.reason, run.scheduled_at) == (Outcome.FAILED, Reason.INTERNAL, BEGAN)
    (line,) = replica.log.of(Event.REFRESH_FINISHED)
    assert line["run_id"] == run.run_id
    (message,) = replica.log.of(Event.LIBRARY_MESSAGE)
    assert isinstance(message["exception"], RuntimeError)
    assert replica.history.finished == [run]
    assert replica.metrics.calls.count("run_finished") == 1
    assert "CANARY" not in str(run)


def test_a_command_gets_the_exception_itself() -> None:
    """A person at a terminal sees the crash, exit 70."""
    replica = Leading(FakeRefresher(started))
    replica.status.on_question = crash
    with pytest.raises(RuntimeError):
        replica.cycle.run(None, Origin.COMMAND)


@pytest.mark.fault
@pytest.mark.parametrize("part", ["pause", "history", "history, finished", "metrics", "run_log", "delivery"])
def test_L11_what_fails_around_a_run_does_not_fail_it(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The views are refreshed, and whatever else can be done about it is done; the part is counted and named."""
    replica = Leading(FakeRefresher(started))
    if part == "pause":
        replica.status.on_question = crash
    elif part == "history":
        replica.history.on_begin = crash
    elif part == "history, finished":
        replica.history.on_finish = crash
    elif part == "metrics":
        monkeypatch.setattr(replica.metrics, "run_finished", crash)
    elif part == "run_log":
        monkeypatch.setattr(replica.run_logger, "finished", crash)
    else:
        monkeypatch.setattr(replica.notifier, "heartbeat", lambda phase, run: None if phase == "start" else crash())
    run = replica.cycle.run(BEGAN)
    assert run is not None
    assert run.outcome is Outcome.OK
    assert [line["part"] for line in replica.log.of(Event.PART_FAILED)] == [part.partition(",")[0]]
    assert "analytics_part_failures_total" in replica.metrics.calls
    assert len(replica.log.of(Event.REFRESH_FINISHED)) == (part != "run_log")
    assert replica.metrics.calls.count("run_finished") == (part != "metrics")
    assert len(replica.history.finished) == (part != "history, finished")
    assert replica.after == [run]


TIMES = {"failures": ViewTimes(1.0, 24.0, 25.0)}


def test_a_run_of_some_views_asks_for_these_alone() -> None:
    """Its views, its deadline and what is told of it are those of the views that were due."""
    replica = Leading(FakeRefresher(lambda *given: reply("failures")), isolation="view", own=TIMES)
    run = replica.cycle.run(BEGAN, views=("failures",))
    assert run is not None
    assert [result.view for result in run.views] == ["failures"]
    assert replica.refresher.asked == [("failures",)]
    (line,) = replica.log.of(Event.REFRESH_FINISHED)
    assert [view["view"] for view in line["views"]] == ["failures"]


def test_a_run_of_all_views_names_none() -> None:
    """Without intervals of views nothing is asked that was not asked before."""
    replica = Leading(FakeRefresher(lambda *given: reply(*VIEWS)))
    replica.cycle.run(BEGAN)
    assert replica.refresher.asked == [None]


@pytest.mark.parametrize(("due", "deadline"), [(("failures",), 25.0), (("hourly", "failures"), 250.0), (None, 250.0)])
def test_a_run_may_take_as_long_as_its_slowest_view(due: tuple[str, ...] | None, deadline: float) -> None:
    """A run of the frequent view alone is over before its next slot."""
    settings = replace(Leading(FakeRefresher(started)).settings, own=TIMES)
    assert settings.only(due).deadline_seconds == deadline


def test_a_failed_attempt_is_repeated_within_the_shortest_slot_only() -> None:
    """After that the next slot repeats it, so that a run with a long deadline keeps no frequent view waiting."""
    settings = replace(
        Leading(FakeRefresher(started)).settings, own=TIMES, interval=timedelta(seconds=30), deadline_seconds=250.0
    )
    assert settings.latest_start_seconds(BEGAN, BEGAN) == 27.0
    assert replace(settings, own={}).latest_start_seconds(BEGAN, BEGAN) == 225.0


def test_what_a_run_of_other_views_found_stays() -> None:
    """A view that breaks the contract is not forgotten because another one was refreshed since."""
    replica = Leading(FakeRefresher(lambda *given: reply()), isolation="view", own=TIMES)
    replica.cycle.run(BEGAN, views=("hourly",))
    (problem,) = replica.state.current.run_problems
    assert "hourly" in problem
    replica.refresher.steps = [lambda *given: reply("failures")]
    replica.cycle.run(BEGAN, views=("failures",))
    assert list(replica.state.current.run_problems) == [problem]
    replica.refresher.steps = [lambda *given: reply(*VIEWS)]
    replica.cycle.run(BEGAN)
    assert list(replica.state.current.run_problems) == []


def test_a_view_that_goes_on_failing_is_told_once_whatever_runs_in_between() -> None:
    """The run before is the view's last one, not that of a view that is refreshed more often."""
    broken = RefreshReply((ViewReport("hourly", 0.1, 5, False, "no", reason=Reason.NO_UNIQUE_INDEX),), 0.1)
    replica = Leading(FakeRefresher(lambda *given: broken), isolation="view", own=TIMES)
    for steps, view in ((broken, "hourly"), (reply("failures"), "failures"), (broken, "hourly")):
        replica.refresher.steps = [lambda *given, steps=steps: steps]
        replica.clock.pass_by(30)
        replica.cycle.run(replica.clock.now(), views=(view,))
    assert len(replica.log.of(Event.VIEW_FAILED)) == 1
