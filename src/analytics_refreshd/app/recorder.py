"""Runs on their way into history: what cannot be written waits in memory, bounded and counted."""

import threading
from collections import deque
from dataclasses import replace
from datetime import datetime

from analytics_refreshd.app.memory import Memory
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Run
from analytics_refreshd.core.ports import EventLog, History, Metrics


class Recorder:
    """Writes runs, keeps those that could not be written, and writes them later in their order.

    A failed write never touches the refresh whose result it carries. When more than `capacity` runs wait, the oldest
    is given up and counted in the log.
    """

    def __init__(self, history: History, memory: Memory, log: EventLog, metrics: Metrics, capacity: int) -> None:
        self._history = history
        self._memory = memory
        self._log = log
        self._metrics = metrics
        self._waiting: deque[Run] = deque()
        self._capacity = capacity
        self._lock = threading.Lock()
        self._lost = 0
        self.failing_since: datetime | None = None

    def begin(self, run: Run) -> bool:
        """Write the running row; False where it could not be written, which is told once the run's end cannot be."""
        self._memory.remember([run])
        try:
            self._history.begin(run)
        except DatabaseFault:
            self._metrics.history_write_failed()
            return False
        return True

    def finish(self, run: Run, *, later: bool = False) -> None:
        """Write a finished or skipped run, after those that wait; `later` where the database is known to be away."""
        self._memory.remember([run])
        with self._lock:
            self._waiting.append(replace(run, clock="daemon") if later else run)
        if later:
            self._keep()
        else:
            self.flush()

    def flush(self) -> None:
        """Write what waits, oldest first, until one write fails."""
        if not self._lock.acquire(timeout=10):
            return
        try:
            while self._waiting:
                run = self._waiting[0]
                try:
                    self._history.finish(run)
                except DatabaseFault as fault:
                    # whatever is written later must not be dated by the server's clock of that moment
                    self._waiting = deque(replace(each, clock="daemon") for each in self._waiting)
                    self._failed(fault)
                    break
                self._waiting.popleft()
            else:
                self._restored()
        finally:
            self._trim()
            self._memory.update(history_pending=len(self._waiting), history_available=self._history.available)
            self._lock.release()

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

    def _keep(self) -> None:
        with self._lock:
            self._trim()
            self._memory.update(history_pending=len(self._waiting))

    def _trim(self) -> None:
        while len(self._waiting) > self._capacity:
            self._waiting.popleft()
            self._lost += 1

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
