"""Writes runs to history, and buffers in memory what cannot be written."""

import threading
from collections import deque
from dataclasses import replace

from analytics_refreshd.app.parts import Parts
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.metrics import HISTORY_WRITE_FAILURES
from analytics_refreshd.core.model import Reason, Run
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.ports import History
from analytics_refreshd.core.retry import refuses_one_record

_LONGEST_SECONDS = 5.0
"""After this time a call begins no further write, because its thread has other work."""
_MOST_REFUSED = 3
"""After so many refusals in a row it is not the runs that are refused."""


class Recorder:
    """Writes runs in order; keeps those that fail, and writes them later.

    Neither a failed nor a slow write delays a refresh: no thread waits for another one's writing, and none writes for
    long. When more than `capacity` runs wait, the oldest is dropped and counted in the log.
    """

    def __init__(self, runtime: Runtime, history: History, capacity: int) -> None:
        self._history = history
        self._state = runtime.state
        self._log = runtime.log
        self._metrics = runtime.metrics
        self._clock = runtime.clock
        self._waiting: deque[Run] = deque()
        self._capacity = capacity
        self._lock = threading.Lock()
        """Protects `_waiting`; held only while that changes."""
        self._writing = threading.Lock()
        """Only its holder takes runs out of `_waiting`; no thread waits for it."""
        self._lost = 0
        self._parts = Parts(runtime)

    def begin(self, run: Run) -> bool:
        """Write the running row; False where that failed.

        The log has it only if the finished run cannot be written either.
        """
        run = self._note(run)
        try:
            self._history.begin(run)
        except Exception as error:
            self._metrics.count(HISTORY_WRITE_FAILURES)
            if not isinstance(error, DatabaseFault):
                self._parts.failed(Part.HISTORY, error)
            return False
        return True

    def _note(self, run: Run) -> Run:
        """Date `run` by the server's clock, and keep it in the state."""
        dated = self._state.snapshot().dated(run)
        self._state.change(lambda state: state.with_runs([dated]))
        return dated

    def finish(self, run: Run, *, later: bool = False) -> None:
        """Write a finished or skipped run, after those that wait.

        `later` only buffers it, because the database is known to be away.
        """
        run = self._note(run)
        with self._lock:
            self._waiting.append(replace(run, clock="daemon") if later else run)
        self._work_off(write=not later)

    def flush(self) -> None:
        """Write what waits, oldest first.

        Ends early where a write fails or time is up.
        The next call goes on. Where another thread is writing, that thread writes all.
        """
        self._work_off(write=True)

    def _work_off(self, *, write: bool) -> None:
        """Write and trim, unless another thread is doing so.

        Repeat if work arrived meanwhile.
        """
        again = True
        while again and self._writing.acquire(blocking=False):
            try:
                again = write and self._write()
                self._trim()
            finally:
                self._writing.release()
            again = again and self.pending > 0
        with self._lock:
            waiting, available = len(self._waiting), self._history.available
            self._state.change(lambda state: replace(state, history_pending=waiting, history_available=available))

    def _write(self) -> bool:
        """Write what waits; return whether everything was written.

        A run that the database refuses waits aside while the younger ones are tried. Once one of those is written, the
        run itself is the reason: it is written without its texts, or given up.
        """
        until = self._clock.monotonic() + _LONGEST_SECONDS
        refused: list[tuple[Run, DatabaseFault]] = []
        while (run := self._oldest_but(refused)) is not None:
            if self._clock.monotonic() >= until:
                return False
            fault = self._finish(run)
            if fault is None:
                self._done_with(run)
                self._settle(refused)
                continue
            self._late()
            self._failed(fault)
            refused.append((run, fault))
            if not refuses_one_record(fault) or len(refused) >= _MOST_REFUSED:
                return False
        if refused:
            return False
        self._restored()
        return True

    def _finish(self, run: Run) -> DatabaseFault | None:
        try:
            self._history.finish(run)
        except DatabaseFault as fault:
            return fault
        except Exception as error:
            self._parts.failed(Part.HISTORY, error)
            text = f"internal error: {type(error).__name__}"
            return DatabaseFault(text, error_class=ErrorClass.PERMANENT, reason=Reason.INTERNAL)
        return None

    def _settle(self, refused: list[tuple[Run, DatabaseFault]]) -> None:
        """Write the refused runs without their texts, or give them up: others can be written."""
        for run, fault in refused:
            written = self._finish(replace(run, clock="daemon")) is None
            end = "written without its texts"
            if not written and self._finish(_without_texts(run)) is not None:
                end = "given up"
                self._lost += 1
            self._done_with(run)
            if not written:
                self._log.emit(
                    Event.HISTORY_PENDING,
                    level="warning",
                    run_id=run.run_id,
                    pending=self.pending,
                    lost=self._lost,
                    error=f"{end}: {fault.message}",
                    sqlstate=fault.sqlstate,
                )
        refused.clear()

    def _oldest_but(self, refused: list[tuple[Run, DatabaseFault]]) -> Run | None:
        aside = {run.run_id for run, _ in refused}
        with self._lock:
            return next((run for run in self._waiting if run.run_id not in aside), None)

    def _done_with(self, run: Run) -> None:
        with self._lock:
            self._waiting = deque(each for each in self._waiting if each.run_id != run.run_id)

    def _late(self) -> None:
        """Date what waits by this process: written later, a run must keep its own time."""
        with self._lock:
            self._waiting = deque(replace(each, clock="daemon") for each in self._waiting)

    def _trim(self) -> None:
        with self._lock:
            while len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self._lost += 1

    def close_abandoned(self) -> None:
        """Mark runs whose process is gone; a failure is only counted."""
        try:
            self._history.close_abandoned()
        except DatabaseFault as fault:
            self._failed(fault)
        except Exception as error:
            self._parts.failed(Part.HISTORY, error)

    @property
    def pending(self) -> int:
        """Return how many runs wait."""
        return len(self._waiting)

    def _failed(self, fault: DatabaseFault) -> None:
        self._metrics.count(HISTORY_WRITE_FAILURES)
        if self._state.current.history_failing_since is None:
            now = self._state.server_now()
            self._state.change(lambda state: replace(state, history_failing_since=now))
            self._log.emit(
                Event.HISTORY_PENDING,
                level="warning",
                pending=len(self._waiting),
                error=fault.message,
                sqlstate=fault.sqlstate,
            )

    def _restored(self) -> None:
        since = self._state.current.history_failing_since
        if since is not None:
            self._log.emit(
                Event.HISTORY_PENDING,
                pending=0,
                lost=self._lost,
                seconds=(self._state.server_now() - since).total_seconds(),
            )
            self._state.change(lambda state: replace(state, history_failing_since=None))
            self._lost = 0


def _without_texts(run: Run) -> Run:
    """Keep what happened, and drop what was said about it."""
    views = tuple(replace(view, error=None, sqlstate=None) for view in run.views)
    return replace(run, clock="daemon", error=None, sqlstate=None, views=views)
