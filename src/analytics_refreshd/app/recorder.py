"""Runs on their way into history: what cannot be written waits in memory, bounded and counted."""

import threading
from collections import deque
from dataclasses import replace
from datetime import datetime

from analytics_refreshd.app.memory import Memory
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Run
from analytics_refreshd.core.ports import Clock, EventLog, History, Metrics

_LONGEST_SECONDS = 5.0
"""How long one call may write what waits, its last write apart: a refresh and an evaluation have more to do."""


class Recorder:
    """Writes runs, keeps those that could not be written, and writes them later in their order.

    A failed write never touches the refresh whose result it carries, and nor does a slow one: no thread waits for
    another one's writing, and none writes for long. When more than `capacity` runs wait, the oldest is given up and
    counted in the log.
    """

    def __init__(
        self, history: History, memory: Memory, log: EventLog, metrics: Metrics, clock: Clock, capacity: int
    ) -> None:
        self._history = history
        self._memory = memory
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._waiting: deque[Run] = deque()
        self._capacity = capacity
        self._lock = threading.Lock()
        """Of `_waiting`, and held for no longer than it takes to change that."""
        self._writing = threading.Lock()
        """Whose holder alone takes runs out of `_waiting`; nobody waits for it."""
        self._lost = 0
        self.failing_since: datetime | None = None

    def begin(self, run: Run) -> bool:
        """Write the running row; False where it could not be written, which is told once the run's end cannot be."""
        run = self._memory.dated(run)
        self._memory.remember([run])
        try:
            self._history.begin(run)
        except DatabaseFault:
            self._metrics.history_write_failed()
            return False
        return True

    def finish(self, run: Run, *, later: bool = False) -> None:
        """Write a finished or skipped run, after those that wait; `later` where the database is known to be away."""
        run = self._memory.dated(run)
        self._memory.remember([run])
        with self._lock:
            self._waiting.append(replace(run, clock="daemon") if later else run)
        self._work_off(write=not later)

    def flush(self) -> None:
        """Write what waits, oldest first, until one write fails or this has taken its time; else another call goes on.

        Where another thread writes it writes what waits here too.
        """
        self._work_off(write=True)

    def _work_off(self, *, write: bool) -> None:
        """Write and trim where no other thread does, and again where something came while that thread was ending."""
        again = True
        while again and self._writing.acquire(blocking=False):
            try:
                again = write and self._write()
                self._trim()
            finally:
                self._writing.release()
            again = again and self.pending > 0
        with self._lock:
            self._memory.update(history_pending=len(self._waiting), history_available=self._history.available)

    def _write(self) -> bool:
        """Whether everything was written."""
        until = self._clock.monotonic() + _LONGEST_SECONDS
        while (run := self._oldest()) is not None:
            if self._clock.monotonic() >= until:
                return False
            try:
                self._history.finish(run)
            except DatabaseFault as fault:
                with self._lock:
                    # whatever is written later must not be dated by the server's clock of that moment
                    self._waiting = deque(replace(each, clock="daemon") for each in self._waiting)
                self._failed(fault)
                return False
            with self._lock:
                self._waiting.popleft()
        self._restored()
        return True

    def _oldest(self) -> Run | None:
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def _trim(self) -> None:
        with self._lock:
            while len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self._lost += 1

    def close_abandoned(self) -> None:
        """Mark runs whose process is gone; a failure is no reason not to go on."""
        try:
            self._history.close_abandoned()
        except DatabaseFault as fault:
            self._failed(fault)

    @property
    def pending(self) -> int:
        """How many runs wait."""
        return len(self._waiting)

    def _failed(self, fault: DatabaseFault) -> None:
        self._metrics.history_write_failed()
        if self.failing_since is None:
            self.failing_since = self._memory.server_now()
            self._log.emit(
                Event.HISTORY_PENDING,
                level="warning",
                pending=len(self._waiting),
                error=fault.message,
                sqlstate=fault.sqlstate,
            )

    def _restored(self) -> None:
        if self.failing_since is not None:
            self._log.emit(
                Event.HISTORY_PENDING,
                pending=0,
                lost=self._lost,
                seconds=(self._memory.server_now() - self.failing_since).total_seconds(),
            )
            self.failing_since = None
            self._lost = 0
