"""One cycle: refresh, evaluate the result, record it, notify."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from analytics_refreshd.app.attempts import Attempts
from analytics_refreshd.app.cycle_settings import CycleSettings
from analytics_refreshd.app.parts import Parts
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.run_logger import RunExtras, RunLogger
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.app.tracing import trace_run
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.evaluation import evaluate_fault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Origin, Outcome, Pause, Progress, Reason, Run
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.ports import Notifier, StatusReader
from analytics_refreshd.core.run_summary import stands_out

_PATIENCE_SECONDS = 0.5


class RefreshCycle:
    """Runs one refresh at a time, on the calling thread."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        attempts: Attempts,
        recorder: Recorder,
        status: StatusReader,
        run_logger: RunLogger,
        notifier: Notifier,
        after_run: Callable[[Run], None],
    ) -> None:
        self._attempts = attempts
        self._recorder = recorder
        self._status = status
        self._state = runtime.state
        self._database = runtime.database
        self._log = runtime.log
        self._run_logger = run_logger
        self._metrics = runtime.metrics
        self._notifier = notifier
        self._clock = runtime.clock
        self._tracer = runtime.tracer
        self._after_run = after_run
        self._parts = Parts(runtime)

    def stop(self) -> None:
        """Cancel the run under way and start no other; from any thread."""
        self._attempts.stop()

    def skip(self, reason: Reason, scheduled_at: datetime | None, origin: Origin = Origin.SCHEDULE) -> Run:
        """Record a slot without a refresh in metrics, history and log."""
        now = self._clock.now()
        run = replace(
            self.new_run(scheduled_at, origin, now),
            finished_at=now,
            outcome=Outcome.SKIPPED,
            reason=reason,
            duration_seconds=0.0,
            attempts=0,
            clock="daemon",
        )
        self._parts.run(Part.METRICS, lambda: self._count(run))
        self._parts.run(Part.RUN_LOG, lambda: self._run_logger.skipped(run))
        self._parts.run(Part.HISTORY, lambda: self._record(run))
        return run

    def _count(self, run: Run) -> None:
        if run.outcome is Outcome.SKIPPED:
            self._metrics.slot_skipped(run.reason or Reason.OVERLAP)
        self._metrics.run_finished(run)

    def _record(self, run: Run) -> None:
        """Write `run` to history, later if that is known to fail: a locked table must not delay the next slot.

        The evaluation writes it then. A command ends first, so it tries at once.
        """
        later = self._database.down or self._state.current.history_failing_since is not None
        self._recorder.finish(run, later=later and run.origin is Origin.SCHEDULE)

    def run(
        self,
        scheduled_at: datetime | None,
        origin: Origin = Origin.SCHEDULE,
        views: Sequence[str] | None = None,
    ) -> Run | None:
        """Refresh all views, or `views` alone, once, or skip.

        None where nothing was due: on a standby, or after `stop`.
        """
        if self._attempts.stopped:
            return None
        # before asking who leads, so that losing the lead afterwards cancels the run
        self._attempts.begin()
        if origin is Origin.SCHEDULE and not self._state.leads():
            # While the database is away nobody can lead. The last leader records its slots as missed.
            if self._database.down and self._state.current.owns_missed_slots:
                self._database.slot_missed()
                return self.skip(Reason.CONNECT, scheduled_at)
            return None
        return self._refresh(scheduled_at, origin, views=views)

    def run_requested(self, run_id: UUID) -> Run | None:
        """Refresh once for operators, as the command does.

        None on a standby, or after `stop`.
        """
        if self._attempts.stopped:
            return None
        self._attempts.begin()
        return self._refresh(None, Origin.COMMAND, run_id) if self._state.leads() else None

    def _pause(self, origin: Origin) -> Pause | None:
        """Read the pause in force; the one last known where it cannot be read."""
        try:
            # a status function that hangs must not delay the refresh
            pause = self._status.pause(wait_seconds=_PATIENCE_SECONDS)
        except Exception as error:
            if origin is not Origin.SCHEDULE and not isinstance(error, DatabaseFault):
                raise
            self._parts.failed(Part.PAUSE, error)
            return self._state.snapshot().pause
        self._parts.succeeded(Part.PAUSE)
        self._state.change(lambda state: replace(state, pause=pause))
        return pause

    def _refresh(
        self,
        scheduled_at: datetime | None,
        origin: Origin,
        run_id: UUID | None = None,
        views: Sequence[str] | None = None,
    ) -> Run:
        # kept for the whole run: a reload must not evaluate it by views that it did not refresh
        settings = self._attempts.settings.only(views)
        began, began_monotonic = self._clock.now(), self._clock.monotonic()
        run = replace(self.new_run(scheduled_at, origin, began), run_id=run_id or uuid4())
        with self._tracer.span("refresh", {"analytics.run_id": str(run.run_id)}, run_id=run.run_id) as span:
            finished = self._carry_out(run, settings, began_monotonic)
            self._parts.run(Part.TRACE, lambda: trace_run(span, finished))
        return finished

    def _carry_out(self, run: Run, settings: CycleSettings, began_monotonic: float) -> Run:
        origin, extras = run.origin, RunExtras()
        try:
            if self._pause(origin) is not None:
                return self.skip(Reason.PAUSED, run.scheduled_at, origin)
            self._announce(run)
            finished, extras = self._attempts.carry_out(run, began_monotonic, settings)
        except BaseException as error:
            # even a defect leaves the slot a run in metrics, log and history
            if origin is not Origin.SCHEDULE:
                raise
            finished = self._crashed(run, error, began_monotonic, settings.views)
        finally:
            self._state.change(lambda state: replace(state, progress=None, run_deadline_monotonic=None))
        # before the log line: its reader may scrape at once
        self._parts.run(Part.METRICS, lambda: self._count(finished))
        self._parts.run(Part.RUN_LOG, lambda: self._log_finished(finished, settings, extras))
        self._parts.run(Part.HISTORY, lambda: self._record(finished))
        self._metrics.cycle_finished(self._clock.monotonic() - began_monotonic)
        outcome = "success" if finished.outcome is Outcome.OK else "fail"
        self._parts.run(Part.DELIVERY, lambda: self._notifier.heartbeat(outcome, finished))
        self._after_run(finished)
        return finished

    def _log_finished(self, run: Run, settings: CycleSettings, extras: RunExtras) -> None:
        known = [item for item in self._state.current.runs if item.run_id != run.run_id and item.outcome is not None]
        self._run_logger.finished(
            run,
            known,
            rows_collapse_ratio=settings.rows_collapse_ratio,
            slow_factor=settings.slow_factor,
            extras=extras,
            stands_out=stands_out(run, self._state.current),
            slow_seconds=self._state.current.limits.slow_seconds,
        )

    def _announce(self, run: Run) -> None:
        progress = Progress(run.run_id, self._state.server_now(), 0.0)
        self._state.change(lambda state: replace(state, progress=progress))
        self._log.emit(Event.REFRESH_STARTED, level="debug", run_id=run.run_id, scheduled_at=run.scheduled_at)
        self._notifier.heartbeat("start", run)
        if not self._database.down and self._state.current.history_failing_since is None:
            self._recorder.begin(run)

    def _crashed(self, run: Run, error: BaseException, began_monotonic: float, views: tuple[str, ...]) -> Run:
        """Make a failed run of a cycle that a defect ended, so that its slot has one."""
        self._log.emit(
            Event.LIBRARY_MESSAGE,
            level="error",
            library="analytics_refreshd",
            message="a defect of this program ended the cycle",
            exception=error,
        )
        fault = DatabaseFault(type(error).__name__, error_class=ErrorClass.PERMANENT, reason=Reason.INTERNAL)
        evaluation = evaluate_fault(views, fault, cancelled=self._attempts.cancelled)
        seconds = self._clock.monotonic() - began_monotonic
        return replace(
            run,
            finished_at=run.started_at + timedelta(seconds=seconds),
            outcome=evaluation.outcome,
            reason=evaluation.reason,
            error=evaluation.error,
            duration_seconds=seconds,
            views=evaluation.views,
        )

    def new_run(self, scheduled_at: datetime | None, origin: Origin, began: datetime) -> Run:
        """Make a run that begins at `began`."""
        state = self._state.current
        return Run(
            uuid4(),
            origin,
            began,
            scheduled_at=scheduled_at,
            lateness_seconds=max(0.0, (began - scheduled_at).total_seconds()) if scheduled_at else None,
            replica=state.replica or "",
            leader_epoch=state.leadership.epoch,
            isolation=self._attempts.settings.isolation,
        )
