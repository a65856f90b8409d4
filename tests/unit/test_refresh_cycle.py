"""One tick's work: whatever raises, the slot is accounted for."""

from typing import Any, Never

import pytest

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Origin, Outcome, Reason
from tests.support.fakes import FakeRefresher
from tests.support.leading import BEGAN, Leading, started


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
