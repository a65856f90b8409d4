"""Repeats a run's refresh while its slot lasts and repeating can help."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from tenacity import RetryCallState

from analytics_refreshd.app.attempt_state import AttemptState
from analytics_refreshd.app.cycle_settings import CycleSettings
from analytics_refreshd.app.election import LockWatch
from analytics_refreshd.app.parts import Parts
from analytics_refreshd.app.retry_policy import fault_of, retrying
from analytics_refreshd.app.run_logger import RunExtras, RunLogger
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.app.tracing import trace_fault, trace_reply
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.evaluation import (
    Evaluation,
    contract_problems,
    evaluate_fault,
    evaluate_reports,
    naming_blocker,
)
from analytics_refreshd.core.metrics import RUN_RETRIES
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.ports import Refresher, RefreshReply, StatusReader


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches a run's backends: the daemon's leader thread, or a command's helper."""

    begin: Callable[[LockWatch], None]
    end: Callable[[], None]


class Attempts:
    """Carries out one run at a time, on the calling thread.

    Other threads call `stop` and `abandon`.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: CycleSettings,
        *,
        refresher: Refresher,
        status: StatusReader,
        run_logger: RunLogger,
        watching: Watching,
    ) -> None:
        self._runtime = runtime
        self.settings = settings
        self._refresher = refresher
        self._status = status
        self._state = runtime.state
        self._database = runtime.database
        self._metrics = runtime.metrics
        self._run_logger = run_logger
        self._clock = runtime.clock
        self.watching = watching
        self._parts = Parts(runtime)
        self._stop = threading.Event()
        self._lost_leadership = threading.Event()

    def begin(self) -> None:
        """Let losing the lead cancel the run from now on.

        Call it before asking who leads.
        """
        self._lost_leadership.clear()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Cancel the run under way and let no other begin.

        A retry that sleeps is woken.
        """
        self._stop.set()
        self._refresher.cancel()

    def abandon(self) -> None:
        """Cancel the run under way because this replica no longer leads."""
        self._lost_leadership.set()
        self._refresher.cancel()

    def carry_out(self, run: Run, began_monotonic: float, settings: CycleSettings) -> tuple[Run, RunExtras]:
        """Refresh until that succeeds, cannot be repeated, or the slot is over.

        Returns the finished run, and the extras of its log line.
        """
        latest_start = began_monotonic + settings.latest_start_seconds(run.started_at, run.scheduled_at)
        state = AttemptState(self._new_watch(settings))
        repeat = retrying(
            run.origin,
            latest_start=latest_start,
            monotonic=self._clock.monotonic,
            stopped=self._stop,
            cancelled=[self._lost_leadership],
            before_sleep=lambda retry: self._log_retry(run, retry),
        )
        try:
            reply = repeat(self._attempt, run, settings, state)
            self._confirm_server(run.origin)
        except DatabaseFault as fault:
            self._database.failed(fault)
            seconds = self._clock.monotonic() - began_monotonic
            evaluation = self._evaluate_fault(fault, settings, state)
        else:
            if not self._state.current.lost_since(state.began_at):
                self._database.answered()
            seconds = self._clock.monotonic() - began_monotonic
            ended_at = self._state.server_now() - timedelta(seconds=self._clock.monotonic() - state.replied_monotonic)
            evaluation = evaluate_reports(
                settings.views, reply.reports, state.watch.samples, reply.duration_seconds, ended_at
            )
            views = evaluation.views
            self._state.change(lambda known: known.with_successes(views))
            state.cost, state.rows_folded = reply.cost, reply.rows_folded
            replied_at = self._clock.now() - timedelta(seconds=self._clock.monotonic() - state.replied_monotonic)
            samples = state.watch.samples
            self._parts.run(Part.TRACE, lambda: trace_reply(state.span, views, reply, samples, replied_at))
            state.extras = replace(
                state.extras,
                fold_seconds=reply.fold_seconds,
                rebuild_reason=state.extras.rebuild_reason or reply.rebuild_reason,
                notices=reply.notice_count or None,
                notice_samples=reply.notices or None,
            )
        evaluation = naming_blocker(evaluation, state.watch.blockers)
        self._note_problems(evaluation, settings)
        finished = replace(
            run,
            finished_at=run.started_at + timedelta(seconds=seconds),
            outcome=evaluation.outcome,
            reason=evaluation.reason,
            sqlstate=evaluation.sqlstate,
            error=evaluation.error,
            duration_seconds=seconds,
            attempts=state.count,
            views=evaluation.views,
            blockers=state.watch.blockers,
            rows_folded=state.rows_folded,
            cost=state.cost,
        )
        return finished, state.extras

    def _attempt(self, run: Run, settings: CycleSettings, state: AttemptState) -> RefreshReply:
        if self._lost_leadership.is_set():
            raise DatabaseFault(
                "this replica no longer leads", error_class=ErrorClass.CANCELLED, reason=Reason.NOT_LEADER
            )
        if self._stop.is_set():
            # it woke a retry from its sleep
            raise DatabaseFault("the refresh was cancelled", error_class=ErrorClass.CANCELLED, reason=Reason.CANCELLED)
        state.count += 1
        with self._runtime.tracer.span("attempt", {"analytics.attempt": state.count}) as state.span:
            return self._call(run, settings, state)

    def _call(self, run: Run, settings: CycleSettings, state: AttemptState) -> RefreshReply:
        self._set_deadline(settings)
        watch = state.watch = self._new_watch(settings)
        state.began_at = self._state.server_now()

        def started(pid: int) -> None:
            watch.add(pid)
            self.watching.begin(watch)

        try:
            self._rebuild(run, state)
            self._set_deadline(settings)
            reply = self._refresher.refresh(run.run_id, started, lambda: self.cancelled, settings.due)
            state.replied_monotonic = self._clock.monotonic()
            return reply
        except DatabaseFault as fault:
            if fault.committing:
                state.unsettled = fault
            ended, reason = self._clock.now(), fault.reason.value
            seconds = self._clock.monotonic() - watch.began_monotonic
            self._parts.run(Part.TRACE, lambda: trace_fault(state.span, reason, watch.samples, ended, seconds))
            raise
        finally:
            self.watching.end()

    def _evaluate_fault(self, fault: DatabaseFault, settings: CycleSettings, state: AttemptState) -> Evaluation:
        if fault.reason is Reason.OVERLAP and state.unsettled is None:
            return Evaluation(Outcome.SKIPPED, Reason.OVERLAP, None, fault.message, ())
        # Losing the lead cancels the run only if the fault says so: both may come of lost connections.
        cancelled = self._stop.is_set() or (self.cancelled and fault.error_class is ErrorClass.CANCELLED)
        # A COMMIT whose answer was lost may have refreshed every view, whatever became of later attempts.
        evaluation = evaluate_fault(settings.views, state.unsettled or fault, cancelled=cancelled)
        if evaluation.reason is Reason.SHUTDOWN and not self._stop.is_set():
            return replace(evaluation, reason=Reason.NOT_LEADER)
        return evaluation

    def _set_deadline(self, settings: CycleSettings) -> None:
        """Give the attempt a deadline of its own, which may lie after the slot's end."""
        deadline = self._clock.monotonic() + settings.deadline_seconds
        self._state.change(lambda known: replace(known, run_deadline_monotonic=deadline))

    def _rebuild(self, run: Run, state: AttemptState) -> None:
        """Build the rollups if necessary; its time grows with the table, so it has no deadline."""
        began = self._clock.monotonic()

        def started() -> None:
            self._state.change(lambda known: replace(known, run_deadline_monotonic=None))

        reason = self._refresher.rebuild(run.run_id, started, lambda: self.cancelled)
        if reason is not None:
            seconds = self._clock.monotonic() - began
            state.extras = replace(state.extras, rebuild_reason=reason, rebuilt_seconds=seconds)
            now = self._clock.now()
            state.span.child("rebuild", now - timedelta(seconds=seconds), now, {"analytics.rebuild_reason": reason})

    def _confirm_server(self, origin: Origin) -> None:
        """Ask the server again if other sessions were lost during the refresh.

        A backend may outlive its postmaster, and report a COMMIT that no other session will see. Raises DatabaseFault
        with `committing` where the server is away: the outcome is unknown then.
        """
        # losing the lead is the first sign; a command never leads
        leads = origin is Origin.COMMAND or self._state.current.leadership.leads(self._clock.monotonic())
        if leads and not self._database.down and not self._lost_leadership.is_set():
            return
        try:
            self._status.pause()
        except DatabaseFault as fault:
            if not fault.error_class.away:
                return
            raise DatabaseFault(
                f"the refresh's session reported success, and the server was gone: {fault.message}",
                error_class=ErrorClass.CONN_LOST,
                reason=Reason.CONN_LOST,
                committing=True,
            ) from None

    def _new_watch(self, settings: CycleSettings) -> LockWatch:
        return LockWatch(self._runtime, settings.views, settings.lock_timeout_seconds)

    @property
    def cancelled(self) -> bool:
        """Whether a stop or a lost lead cancelled the run under way."""
        return self._stop.is_set() or self._lost_leadership.is_set()

    def _log_retry(self, run: Run, state: RetryCallState) -> None:
        fault = fault_of(state)
        self._database.failed(fault)
        self._metrics.count(RUN_RETRIES)
        self._run_logger.retrying(run, fault, attempt=state.attempt_number, wait_seconds=state.upcoming_sleep)

    def _note_problems(self, evaluation: Evaluation, settings: CycleSettings) -> None:
        if evaluation.outcome not in (Outcome.SKIPPED, Outcome.CANCELLED):
            problems = contract_problems(evaluation)
            self._state.change(lambda known: known.with_run_problems(settings.due, problems))
