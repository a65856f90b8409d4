"""The threads that refresh one view each, and what becomes of the run when some of them fail."""

import threading
from collections.abc import Sequence

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason, ViewReport

_NOTHING_STARTS = frozenset({ErrorClass.CONNECT, ErrorClass.NOT_PRIMARY})


class Crew:
    """The views still to do and what became of the others, shared by the threads of one run."""

    def __init__(self, views: Sequence[str]) -> None:
        self.lock = threading.Lock()
        self._views = tuple(views)
        self._waiting = list(views)
        self._reports: dict[str, list[ViewReport]] = {}
        self._faults: dict[str, DatabaseFault] = {}
        self._error: BaseException | None = None

    def next_view(self) -> str | None:
        """The next view to do, None when there is none, or when the database is out of reach."""
        with self.lock:
            return self._waiting.pop(0) if self._waiting else None

    def reported(self, view: str, reports: list[ViewReport]) -> None:
        """Keep a view's reports."""
        with self.lock:
            self._reports[view] = reports

    def failed(self, view: str, fault: DatabaseFault, seconds: float) -> None:
        """Keep a view's fault; one that concerns every view ends the others before they begin."""
        with self.lock:
            self._record(view, fault, seconds)
            if fault.error_class in _NOTHING_STARTS:
                for other in self._waiting:
                    self._record(other, fault, None)
                self._waiting.clear()

    def keeping_error(self) -> "_KeepingError":
        """Keep what is raised inside, for the thread that waits for the others."""
        return _KeepingError(self)

    def keep(self, error: BaseException) -> None:
        """End the run because of a mistake in the program."""
        with self.lock:
            self._error = self._error or error
            self._waiting.clear()

    def result(self) -> tuple[ViewReport, ...]:
        """Every view's report in order, or the fault that none of them escaped."""
        if self._error is not None:
            raise self._error
        if self._faults and len(self._faults) == len(self._views):
            faults = [self._faults[view] for view in self._views]
            shared = faults[0]
            own_reasons = {fault.reason for fault in faults}
            if all(_is_not_the_views(fault) for fault in faults) and len(own_reasons) == 1:
                raise shared
        return tuple(report for view in self._views for report in self._reports.get(view, ()))

    def _record(self, view: str, fault: DatabaseFault, seconds: float | None) -> None:
        self._faults[view] = fault
        self._reports[view] = [
            ViewReport(
                view,
                None,
                None,
                False,
                error=fault.message,
                sqlstate=fault.sqlstate,
                reason=fault.reason,
                measured_seconds=seconds,
            )
        ]


class _KeepingError:
    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is not None:
            self._crew.keep(error)
        return error is not None


def _is_not_the_views(fault: DatabaseFault) -> bool:
    return fault.reason in (Reason.OVERLAP, Reason.CANCELLED) or fault.error_class in (
        ErrorClass.CONNECT,
        ErrorClass.CONN_LOST,
        ErrorClass.NOT_PRIMARY,
    )
