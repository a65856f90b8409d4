"""Runs on their way into history: nobody waits for another's writing, nothing is lost or counted wrongly."""

import threading
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from analytics_refreshd.core.errors import ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Run
from tests.support.fakes import FakeRefresher, fault
from tests.support.leading import Leading, started
from tests.support.states import NOW, run_at


class Recording(Leading):
    """A recorder that keeps three runs at most, over a history in memory."""

    def __init__(self) -> None:
        super().__init__(FakeRefresher(started))

    @property
    def written(self) -> list[int]:
        """The numbers of the runs in history, in the order written."""
        return [run.run_id.int for run in self.history.finished]

    @property
    def pending(self) -> int | None:
        """What metrics and page show."""
        return self.state.current.history_pending


def numbered(number: int) -> Run:
    """A finished run of that number."""
    return run_at(number, NOW)


@pytest.fixture
def replica() -> Recording:
    """One for each test."""
    return Recording()


class Held:
    """A history whose write of run 1 waits until `free`, and then ends as `failing` says."""

    def __init__(self, replica: Recording, *, failing: bool = False) -> None:
        self.free, self.reached = threading.Event(), threading.Event()
        self._failing = failing
        replica.history.on_finish = self._hold
        self.thread = threading.Thread(target=replica.recorder.finish, args=[numbered(1)], daemon=True)
        self.thread.start()
        assert self.reached.wait(10)

    def _hold(self, run: Run) -> None:
        if run.run_id == UUID(int=1) and not self.reached.is_set():
            self.reached.set()
            assert self.free.wait(10)
            if self._failing:
                raise fault()

    def end(self) -> None:
        """Let the write go on."""
        self.free.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_a_slow_write_holds_up_no_other_thread(replica: Recording) -> None:
    """A run that ends meanwhile waits, is shown to wait, and is written by the thread that writes, in order."""
    held = Held(replica)
    replica.recorder.finish(numbered(2))
    replica.recorder.finish(numbered(3), later=True)
    replica.recorder.flush()
    assert replica.written == []
    assert replica.pending == 3
    held.end()
    assert replica.written == [1, 2, 3]
    assert replica.pending == 0


def test_what_comes_while_the_writer_ends_is_written(replica: Recording) -> None:
    """Between its last look and its end another thread may leave a run behind."""

    class Late:
        lock, told = threading.Lock(), False

        def acquire(self, **given: Any) -> bool:
            return self.lock.acquire(**given)

        def release(self) -> None:
            if not self.told:
                self.told = True
                replica.recorder.finish(numbered(2))
            self.lock.release()

    replica.recorder._writing = Late()  # type: ignore[assignment]
    replica.recorder.finish(numbered(1))
    assert replica.written == [1, 2]
    assert replica.pending == 0


def test_a_writer_ends_after_a_while_and_the_next_call_goes_on(replica: Recording) -> None:
    """A backlog over a slow history delays neither the refresh nor the evaluation by more than seconds."""

    def slow(run: Run) -> None:
        replica.clock.pass_by(3.0)

    for number in (1, 2, 3):
        replica.recorder.finish(numbered(number), later=True)
    replica.history.on_finish = slow
    replica.recorder.flush()
    assert (replica.written, replica.pending) == ([1, 2], 1)
    replica.recorder.flush()
    assert (replica.written, replica.pending) == ([1, 2, 3], 0)


def test_too_many_waiting_are_given_up_and_counted(replica: Recording) -> None:
    """The oldest go, once the run that is being written has failed; what was given up is in the log."""
    held = Held(replica, failing=True)
    for number in range(2, 7):
        replica.recorder.finish(numbered(number))
    held.end()
    assert (replica.written, replica.pending) == ([], 3)
    replica.recorder.flush()
    assert (replica.written, replica.pending) == ([4, 5, 6], 0)
    first, last = replica.log.of(Event.HISTORY_PENDING)
    assert first["error"] == "gone"
    assert (last["pending"], last["lost"]) == (0, 3)
    assert all(run.clock == "daemon" for run in replica.history.finished)


def test_a_run_that_is_being_written_is_not_given_up(replica: Recording) -> None:
    """Otherwise it would be counted as lost, and another be dropped in its place."""
    held = Held(replica)
    for number in range(2, 7):
        replica.recorder.finish(numbered(number), later=True)
    held.end()
    assert replica.written == [1, 2, 3, 4, 5, 6]


def test_a_crash_while_writing_lets_others_write(replica: Recording) -> None:
    """The writer's place is free again, the run still waits, and the failure is counted and named."""

    def crashing(run: Run) -> None:
        raise RuntimeError

    replica.history.on_finish = crashing
    replica.recorder.finish(numbered(1))
    assert (replica.written, replica.pending) == ([], 1)
    assert [line["part"] for line in replica.log.of(Event.PART_FAILED)] == ["history"]
    assert "analytics_part_failures_total" in replica.metrics.calls
    replica.history.on_finish = lambda run: None
    replica.recorder.flush()
    assert replica.written == [1]


def test_a_run_that_cannot_be_written_waits(replica: Recording) -> None:
    """Each call tries once more, oldest first."""
    tried: list[int] = []

    def failing(run: Run) -> None:
        tried.append(run.run_id.int)
        raise fault()

    replica.history.on_finish = failing
    replica.recorder.finish(numbered(1))
    replica.recorder.finish(numbered(2))
    assert tried == [1, 1]
    assert replica.pending == 2


@pytest.mark.fault
@pytest.mark.parametrize("error", [fault(ErrorClass.PERMANENT), UnicodeEncodeError("latin-1", "x", 0, 1, "no")])
@pytest.mark.parametrize("texts", [True, False], ids=["its texts", "the run itself"])
def test_L11_a_run_that_is_refused_keeps_no_other_out(replica: Recording, error: Exception, texts: bool) -> None:
    """Younger runs are written; the refused one follows without its texts, or is given up and named."""

    def refusing(run: Run) -> None:
        if run.run_id == UUID(int=1) and (run.error is not None or not texts):
            raise error

    replica.history.on_finish = refusing
    replica.recorder.finish(replace(numbered(1), error="caf\u00e9"))
    assert (replica.written, replica.pending) == ([], 1)
    replica.recorder.finish(numbered(2))
    replica.recorder.finish(numbered(3))
    assert replica.written == ([2, 1, 3] if texts else [2, 3])
    assert replica.pending == 0
    lines = replica.log.of(Event.HISTORY_PENDING)
    (named,) = [line for line in lines if line.get("run_id") == UUID(int=1)]
    assert named["error"].startswith("written without its texts" if texts else "given up")
    assert lines[-1]["lost"] == (0 if texts else 1)


@pytest.mark.fault
def test_L11_what_every_run_meets_gives_none_up(replica: Recording) -> None:
    """Where all are refused it is not the runs: they wait for the grant, or for the table."""
    replica.history.on_finish = lambda run: _raise(fault(ErrorClass.PERMANENT))
    for number in (1, 2, 3):
        replica.recorder.finish(numbered(number))
    assert (replica.written, replica.pending) == ([], 3)
    replica.history.on_finish = lambda run: None
    replica.recorder.flush()
    assert replica.written == [1, 2, 3]
    assert replica.log.of(Event.HISTORY_PENDING)[-1]["lost"] == 0


def _raise(error: Exception) -> None:
    raise error
