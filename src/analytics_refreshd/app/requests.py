"""Does what operators ask for over the API, as the leader."""

import threading
from collections.abc import Callable
from uuid import UUID, uuid4

from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.metrics import OPERATOR_REQUESTS
from analytics_refreshd.core.model import Run
from analytics_refreshd.core.ports import StatusReader
from analytics_refreshd.core.requests import (
    OperatorRequest,
    RequestEnd,
    RequestKind,
    RequestOutcome,
    RequestStore,
    end_of,
    end_of_run,
)

_PRUNE_EVERY_SECONDS = 3600.0


class OperatorRequests:
    """Takes requests at each evaluation, and records how they end.

    A pause and its end are done at once. For a refresh `on_refresh` is called with the id of the run to make, unless a
    refresh is under way: then the request joins that. `finished` tells of the run, from any thread.
    """

    def __init__(self, runtime: Runtime, *, store: RequestStore, status: StatusReader) -> None:
        self._store = store
        self._status = status
        self._state = runtime.state
        self._log = runtime.log
        self._metrics = runtime.metrics
        self._clock = runtime.clock
        self.on_refresh: Callable[[UUID], None] = lambda run_id: None
        self.on_joined: Callable[[UUID], None] = lambda run_id: None
        self._lock = threading.Lock()
        self._planned: UUID | None = None
        self._ends: dict[UUID, RequestEnd] = {}
        self._next_prune_monotonic = runtime.clock.monotonic()

    def serve(self) -> None:
        """Do what is asked, if this replica leads. Raises DatabaseFault."""
        if not self._state.leads():
            return
        refreshes = []
        for request in self._store.open():
            with self._lock:
                known = self._ends.get(request.run_id) if request.run_id is not None else None
            end = end_of(request, known)
            if end is not None:
                if self._store.end(request.request_id, end):
                    self._tell(request, end)
            elif request.run_id is None and request.kind is RequestKind.REFRESH:
                refreshes.append(request)
            elif request.run_id is None:
                self._do(request)
        self._forget()
        if refreshes:
            self._refresh(refreshes)
        if self._clock.monotonic() >= self._next_prune_monotonic:
            self._store.prune()
            self._next_prune_monotonic = self._clock.monotonic() + _PRUNE_EVERY_SECONDS

    def finished(self, run_id: UUID, run: Run | None) -> None:
        """Note how a run ended that was made for requests. None: it was not begun."""
        with self._lock:
            self._ends[run_id] = end_of_run(run)
            if self._planned == run_id:
                self._planned = None

    def _forget(self) -> None:
        """Drop the ends that were recorded just now, and those that history tells."""
        with self._lock:
            while len(self._ends) > 1:
                del self._ends[next(iter(self._ends))]

    def _do(self, request: OperatorRequest) -> None:
        """Pause, or end every pause. What the database will never do is over with that."""
        work = self._store.pause if request.kind is RequestKind.PAUSE else self._store.resume
        try:
            end = work(request)
        except DatabaseFault as fault:
            if fault.error_class is not ErrorClass.PERMANENT:
                raise
            failed = RequestEnd(RequestOutcome.FAILED, fault.message)
            end = failed if self._store.end(request.request_id, failed) else None
        if end is not None:
            self._tell(request, end)

    def _refresh(self, requests: list[OperatorRequest]) -> None:
        """Let one run refresh for all of them: the one under way, or a new one."""
        with self._lock:
            under_way = self._planned
        if under_way is None:
            progress = self._state.current.progress or self._status.progress()
            under_way = progress.run_id if progress is not None else None
        run_id, joined = under_way or uuid4(), under_way is not None
        taken = set(self._store.take([request.request_id for request in requests], run_id, joined=joined))
        for request in requests:
            if request.request_id in taken:
                self._log.emit(
                    Event.OPERATOR_REQUEST_TAKEN,
                    run_id=run_id,
                    request_id=request.request_id,
                    kind=request.kind,
                    actor=request.actor,
                    reason_text=request.reason,
                    joined=joined,
                )
        if taken and joined:
            self.on_joined(run_id)
        if taken and not joined:
            with self._lock:
                self._planned = run_id
            self.on_refresh(run_id)

    def _tell(self, request: OperatorRequest, end: RequestEnd) -> None:
        self._metrics.count(OPERATOR_REQUESTS, kind=request.kind, outcome=end.outcome)
        self._log.emit(
            Event.OPERATOR_REQUEST_ENDED,
            level="info" if end.outcome is RequestOutcome.OK else "warning",
            run_id=request.run_id,
            request_id=request.request_id,
            kind=request.kind,
            actor=request.actor,
            reason_text=request.reason,
            outcome=end.outcome,
            detail=end.detail,
            until=end.paused_until,
        )
