"""Refreshes several views at the same time, one on each connection."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import SimpleQueue

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason, ViewReport
from analytics_refreshd.postgres.refresh.reports import failed
from analytics_refreshd.postgres.refresh.transaction import RefreshConnection, RunState


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one view: its reports, and the fault that they tell of."""

    reports: Sequence[ViewReport]
    fault: DatabaseFault | None = None


class ParallelRun:
    """One run's views on a pool with one thread for each connection."""

    def __init__(
        self,
        run: RunState,
        connections: Sequence[RefreshConnection],
        refresh_view: Callable[[RefreshConnection, str], list[ViewReport]],
    ) -> None:
        self._run = run
        self._size = len(connections)
        self._refresh_view = refresh_view
        self._free: SimpleQueue[RefreshConnection] = SimpleQueue()
        for connection in connections:
            self._free.put(connection)
        self._unreachable: DatabaseFault | None = None

    def refresh(self, views: Sequence[str]) -> tuple[ViewReport, ...]:
        """Refresh all `views`; return their reports in this order.

        A view that fails is a report. Raises DatabaseFault where all views failed for one reason that was not theirs.
        Any other error ends the run: views that have not begun are left out, and it is raised once the others ended.
        """
        pool = ThreadPoolExecutor(self._size, thread_name_prefix="refresh-view")
        try:
            futures = [pool.submit(self._one, view) for view in views]
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
        errors = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        results = [future.result() for future in futures]
        faults = [result.fault for result in results if result.fault is not None]
        if faults and len(faults) == len(results) and _shared(faults):
            raise faults[0]
        return tuple(report for result in results for report in result.reports)

    def _one(self, view: str) -> _Result:
        if self._unreachable is not None:
            # another attempt to connect would cost its whole time limit
            return _Result([failed(view, self._unreachable, None)], self._unreachable)
        began = time.monotonic()
        # one for each thread of the pool, so this never waits
        connection = self._free.get()
        try:
            return _Result(self._refresh_view(connection, view))
        except DatabaseFault as fault:
            if self._run.cancelled.is_set() and fault.error_class is ErrorClass.CANCELLED:
                # this daemon cancelled it: neither a timeout, nor a person
                fault.reason = Reason.SHUTDOWN
            if fault.error_class.unreachable:
                self._unreachable = fault
            seconds = time.monotonic() - began
            report = failed(view, fault, seconds, began_seconds=self._run.elapsed_seconds() - seconds)
            return _Result([report], fault)
        finally:
            self._free.put(connection)


class StartedOnce:
    """Tells of each backend once, from any thread."""

    def __init__(self, on_started: Callable[[int], None]) -> None:
        self._on_started = on_started
        self._lock = threading.Lock()
        self._pids: set[int] = set()

    def __call__(self, pid: int) -> None:
        """Call `on_started(pid)` where this backend is new."""
        with self._lock:
            if pid not in self._pids:
                self._pids.add(pid)
                self._on_started(pid)


def _shared(faults: Sequence[DatabaseFault]) -> bool:
    """Whether one reason explains all faults, and no view caused it."""
    reasons = {fault.reason for fault in faults}
    return len(reasons) == 1 and all(
        fault.error_class.away or fault.reason in (Reason.OVERLAP, Reason.SHUTDOWN, Reason.CANCELLED)
        for fault in faults
    )
