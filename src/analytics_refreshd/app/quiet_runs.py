"""Logs summaries of runs that went as before."""

import threading
from collections import deque
from uuid import UUID

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Outcome, Reason, Run
from analytics_refreshd.core.ports import EventLog
from analytics_refreshd.core.run_summary import RunSummary, ViewSummary

_JOINED_KEPT = 10


class QuietRuns:
    """Decides which runs have lines of their own, and counts the others. Any thread may call it."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._slow: dict[str, bool] = {}
        """Whether it was slow, of each view whose last run in this lead was ok."""
        self._epoch: int | None = None
        self._joined: deque[UUID] = deque(maxlen=_JOINED_KEPT)
        self._summary: RunSummary | None = None

    def join(self, run_id: UUID) -> None:
        """Give a run its own line. An operator waits for it."""
        self._joined.append(run_id)

    def skipped(self, run: Run) -> None:
        """Count a skipped slot. After anything but an overlap the next run of each view has its own line."""
        with self._lock:
            if run.reason is not Reason.OVERLAP:
                self._slow.clear()
            self._count(run)

    def quiet(self, run: Run, *, stands_out: bool, slow_seconds: float) -> bool:
        """Count a run. Return whether it needs no line of its own.

        It needs one if it stands out, or a view in it was not ok before, or is slow now and was not, or the other way
        round; so do the first ones of this process and of each lead. A run that is not ok lets the summary come first.
        """
        with self._lock:
            if run.leader_epoch != self._epoch:
                self._epoch = run.leader_epoch
                self._slow.clear()
            now = {
                result.view: (result.duration_seconds or 0.0) > slow_seconds for result in run.views if result.success
            }
            as_before = all(self._slow.get(view) is slow for view, slow in now.items())
            quiet = as_before and not stands_out and run.run_id not in self._joined
            for result in run.views:
                self._slow.pop(result.view, None)
            self._slow |= now
            if run.outcome is not Outcome.OK:
                self._flush()
            self._count(run, quiet=quiet)
        return quiet

    def flush(self) -> None:
        """Log what has been counted."""
        with self._lock:
            self._flush()

    def _count(self, run: Run, *, quiet: bool = False) -> None:
        summary = self._summary or RunSummary(run.started_at)
        self._summary = summary.taking(run) if quiet else summary.counting(run)
        if self._summary.due(run.finished_at or run.started_at):
            self._flush()

    def _flush(self) -> None:
        summary, self._summary = self._summary, None
        if summary is None or not summary.runs:
            return
        self._log.emit(
            Event.REFRESH_SUMMARY,
            level="info",
            since=summary.since,
            runs=summary.runs,
            outcomes=dict(summary.outcomes),
            duration_seconds=round(summary.duration_seconds, 3),
            lateness_seconds=round(summary.lateness_seconds, 3),
            views=[_fields(view) for view in summary.views.values()],
            **({} if summary.rows_folded is None else {"rows_folded": summary.rows_folded}),
        )


def _fields(view: ViewSummary) -> dict[str, object]:
    return {
        "view": view.view,
        "runs": view.runs,
        "seconds": None if view.seconds is None else round(view.seconds, 3),
        "run_id": view.run_id,
        "rows": view.rows,
        "last_success_at": view.last_success_at,
    }
