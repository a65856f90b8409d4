"""Logs runs: one canonical line each, and lines for what a person must not miss."""

from collections.abc import Sequence
from dataclasses import dataclass

from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.quiet_runs import QuietRuns
from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.errors import UNREACHABLE, DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.guards import guard
from analytics_refreshd.core.metrics import GUARD_TRIPS
from analytics_refreshd.core.model import Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.ports import EventLog, Metrics

_REPEATS_PER_LINE = 12
_CONNECTS_TOLD = 3


@dataclass(frozen=True, slots=True)
class RunExtras:
    """More fields of a run's log line; None is left out."""

    fold_seconds: float | None = None
    rebuilt_seconds: float | None = None
    rebuild_reason: str | None = None
    notices: int | None = None
    notice_samples: tuple[str, ...] | None = None


class RunLogger:
    """Logs runs. Repeated skips and outages are logged once, then every twelfth time.

    `quiet_runs` sums up what needs no line.
    """

    def __init__(self, log: EventLog, metrics: Metrics, database: DatabaseAvailability) -> None:
        self._log = log
        self._metrics = metrics
        self._database = database
        self._repeats: dict[Reason, int] = {}
        self.quiet_runs = QuietRuns(log)

    def skipped(self, run: Run) -> None:
        """Log a slot that passed without a refresh."""
        reason = run.reason or Reason.OTHER
        self.quiet_runs.skipped(run)
        count = self._repeats[reason] = self._repeats.get(reason, 0) + 1
        if count % _REPEATS_PER_LINE == 1:
            self._log.emit(
                Event.REFRESH_SKIPPED,
                level="warning" if reason is Reason.OVERLAP else "info",
                reason=reason.value,
                scheduled_at=run.scheduled_at,
                repeated=count,
                run_id=run.run_id,
            )

    def retrying(self, run: Run, error: DatabaseFault, *, attempt: int, wait_seconds: float) -> None:
        """Log a failed attempt that is repeated after `wait_seconds`.

        From the fourth failure to connect on, at level debug.
        """
        known = error.error_class is ErrorClass.CONNECT and attempt > _CONNECTS_TOLD
        self._log.emit(
            Event.REFRESH_RETRY,
            level="debug" if known else "warning",
            run_id=run.run_id,
            attempt=attempt,
            reason=error.reason.value,
            sqlstate=error.sqlstate,
            error=error.message,
            wait_seconds=round(wait_seconds, 3),
        )

    def finished(
        self,
        run: Run,
        earlier: Sequence[Run],
        *,
        rows_collapse_ratio: float,
        slow_factor: float,
        extras: RunExtras,
        stands_out: bool = True,
        slow_seconds: float = 0.0,
    ) -> None:
        """Log a finished run; `earlier` are the ones before it, newest first.

        One that does not stand out has its line at level debug, and is counted in a summary.
        """
        stands_out = stands_out or extras != RunExtras(extras.fold_seconds)
        quiet = self.quiet_runs.quiet(run, stands_out=stands_out, slow_seconds=slow_seconds)
        self._view_failures(run, earlier)
        for result in run.views:
            if result.success:
                self._guards(run, result, earlier, rows_collapse_ratio, slow_factor)
        if self._repeated(run):
            return
        level = {Outcome.OK: "debug" if quiet else "info", Outcome.SKIPPED: "info", Outcome.CANCELLED: "info"}
        cost = run.cost or Cost()
        self._log.emit(
            Event.REFRESH_FINISHED,
            level=level.get(run.outcome or Outcome.UNKNOWN, "warning"),
            run_id=run.run_id,
            origin=run.origin.value,
            outcome=run.outcome.value if run.outcome else None,
            reason=run.reason.value if run.reason else None,
            sqlstate=run.sqlstate,
            error=run.error,
            scheduled_at=run.scheduled_at,
            started_at=run.started_at,
            duration_seconds=rounded(run.duration_seconds),
            lateness_seconds=rounded(run.lateness_seconds),
            attempts=run.attempts,
            isolation=run.isolation,
            views=[view_fields(result) for result in run.views],
            **_present(
                rows_folded=run.rows_folded,
                wal_bytes=cost.wal_bytes,
                blocks_hit=cost.blocks_hit,
                blocks_read=cost.blocks_read,
                temporary_bytes=cost.temporary_bytes,
                fold_seconds=rounded(extras.fold_seconds),
                rebuilt_seconds=rounded(extras.rebuilt_seconds),
                rebuild_reason=extras.rebuild_reason,
                notices=extras.notices,
                notice_samples=extras.notice_samples,
            ),
        )

    def _view_failures(self, run: Run, earlier: Sequence[Run]) -> None:
        """Log views that fail in this run and did not in their run before."""
        for result in run.views:
            broken_before = not result.success and _failed_before(result.view, earlier)
            if not result.success and not broken_before and run.outcome is not Outcome.CANCELLED:
                self._log.emit(
                    Event.VIEW_FAILED,
                    level="warning",
                    run_id=run.run_id,
                    view=result.view,
                    reason=result.reason.value if result.reason else None,
                    sqlstate=result.sqlstate,
                    error=result.error,
                )

    def _repeated(self, run: Run) -> bool:
        """Whether an outage already logged explains this run, and its line can be left out."""
        if run.reason not in UNREACHABLE:
            self._repeats.clear()
            return False
        self._database.slot_missed()
        count = self._repeats[Reason.CONNECT] = self._repeats.get(Reason.CONNECT, 0) + 1
        return count % _REPEATS_PER_LINE != 1

    def _guards(
        self, run: Run, result: ViewResult, earlier: Sequence[Run], rows_collapse_ratio: float, slow_factor: float
    ) -> None:
        for trip in guard(result, earlier, rows_collapse_ratio=rows_collapse_ratio, slow_factor=slow_factor):
            self._metrics.count(GUARD_TRIPS, guard=trip.guard, view=trip.view)
            self._log.emit(
                Event.GUARD_TRIPPED,
                level="warning",
                run_id=run.run_id,
                guard=trip.guard,
                view=trip.view,
                usual=rounded(trip.usual),
                now=rounded(trip.now),
            )


def _failed_before(view: str, earlier: Sequence[Run]) -> bool:
    """Tell whether the view failed when it was last tried; a run without any views was one of all."""
    for run in earlier:
        results = [result for result in run.views if result.view == view]
        if run.outcome is not Outcome.SKIPPED and (results or not run.views):
            return bool(results) and not results[0].success
    return False


def _present(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def rounded(value: float | None) -> float | None:
    """Round to milliseconds."""
    return None if value is None else round(value, 3)


def view_fields(result: ViewResult) -> dict[str, object]:
    """Build a view's part of the canonical line, without absent fields."""
    fields: dict[str, object] = {
        "view": result.view,
        "success": result.success,
        "seconds": rounded(result.duration_seconds),
        "rows": result.rows,
    }
    if not result.success:
        fields |= {
            "reason": result.reason.value if result.reason else None,
            "sqlstate": result.sqlstate,
            "error": result.error,
        }
    if result.reported_seconds is not None and result.duration_seconds is not None:
        if abs(result.reported_seconds - result.duration_seconds) > 1.0:
            fields["reported_seconds"] = rounded(result.reported_seconds)
    return fields | _present(rows_changed=result.rows_changed) | (result.cost or Cost()).known()
