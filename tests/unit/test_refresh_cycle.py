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


@pytest.mark.parametrize("part", ["pause", "begin", "refresh"])
def test_a_defect_before_or_in_a_run_is_a_failed_run(part: str) -> None:
    """Log, metrics and history have the slot's run, with one line each for the run and the defect."""
    replica = Leading(FakeRefresher(started))
    if part == "pause":
        replica.status.on_question = crash
    elif part == "begin":
        replica.history.on_begin = crash
    else:
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
