"""What `refresh --wait` makes of the refresh under way."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from analytics_refreshd.app.commands.joining import RunUnderWay, answers, overlapped
from analytics_refreshd.core.model import Origin, Outcome, Progress, Reason, Run, ViewResult
from tests.support.fakes import FakeClock, FakeHistory, FakeStatusReader

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
RUNNING = Progress(UUID(int=1), NOW, 1.0)


def run(outcome: Outcome | None, *views: str, reason: Reason | None = None) -> Run:
    results = tuple(ViewResult(view, True) for view in views)
    return Run(UUID(int=1), Origin.SCHEDULE, NOW, outcome=outcome, reason=reason, views=results)


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (run(Outcome.OK, "a", "b"), True),
        (run(Outcome.FAILED, "a", "b"), True),
        (run(Outcome.OK, "a"), False),
        (run(Outcome.CANCELLED, "a", "b"), False),
        (run(Outcome.UNKNOWN), False),
    ],
)
def test_a_run_of_all_views_is_the_answer(found: Run, answer: bool) -> None:
    """One of some views, or one that was cancelled, tells too little: all are refreshed after it."""
    assert answers(found, ["a", "b"]) is answer


def test_a_view_that_another_run_refreshes_is_tried_again() -> None:
    """As is a run that was skipped for it; one that was paused is not."""
    busy = Run(UUID(int=2), Origin.COMMAND, NOW, views=(ViewResult("a", False, Reason.OVERLAP), ViewResult("b", True)))
    assert overlapped(busy)
    assert overlapped(run(Outcome.SKIPPED, reason=Reason.OVERLAP))
    assert not overlapped(run(Outcome.SKIPPED, reason=Reason.PAUSED))


class Moments(threading.Event):
    """A stop that nobody asks for: each wait takes its time on `clock`, then `happens` next."""

    def __init__(self, clock: FakeClock, *happens: Callable[[], None]) -> None:
        super().__init__()
        self.clock = clock
        self.happens = list(happens)
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        self.clock.pass_by(timeout or 0.0)
        if self.happens:
            self.happens.pop(0)()
        return self.is_set()


class Waiting:
    """A command that waits, with what it sees of the other run."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.status, self.history = FakeStatusReader(self.clock), FakeHistory()
        self.status.running = RUNNING
        self.history.runs = [run(None)]

    def join(self, *happens: Callable[[], None], within: float = 100.0) -> tuple[Run | None, float]:
        """What it returns, and after how many seconds."""
        stopped = Moments(self.clock, *happens)
        began = self.clock.monotonic()
        found = RunUnderWay(self.status, self.history, self.clock, stopped).join(began + within)
        return found, self.clock.monotonic() - began

    def end(self) -> None:
        """The other run holds no lock any more."""
        self.status.running = None

    def record(self) -> None:
        """The other run is recorded."""
        self.history.runs = [run(Outcome.OK, "a")]


def nothing() -> None:
    """Time passes."""


def test_where_nothing_runs_nothing_is_waited_for() -> None:
    """The common case costs one question."""
    waiting = Waiting()
    waiting.end()
    assert waiting.join() == (None, 0.0)


def test_a_run_is_waited_for_until_it_is_recorded() -> None:
    """Between two views nothing shows of it; its record does."""
    waiting = Waiting()
    assert waiting.join(nothing, nothing, waiting.end, nothing, waiting.record) == (run(Outcome.OK, "a"), 2.5)


def test_a_run_that_is_never_recorded_is_waited_for_no_longer() -> None:
    """Its process is gone, or there is no history."""
    waiting = Waiting()
    assert waiting.join(waiting.end) == (None, 10.0)


def test_a_run_that_does_not_end_is_waited_for_until_time_is_up() -> None:
    """Every wait has a limit."""
    assert Waiting().join(within=60.0) == (None, 60.0)


def test_a_signal_ends_the_wait() -> None:
    """At once."""
    waiting = Waiting()
    stopped = Moments(waiting.clock)
    stopped.happens = [stopped.set]
    found = RunUnderWay(waiting.status, waiting.history, waiting.clock, stopped).join(1e9)
    assert (found, stopped.waits) == (None, 1)
