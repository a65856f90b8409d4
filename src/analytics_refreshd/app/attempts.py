"""A run's attempts: call the refresh again until it succeeds, cannot be repeated, or its slot is over."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tenacity import RetryCallState, Retrying, retry_if_exception, sleep_using_event
from tenacity.stop import stop_base

from analytics_refreshd.app.database_health import DatabaseHealth
from analytics_refreshd.app.election import LockWatch
from analytics_refreshd.app.memory import Memory
from analytics_refreshd.app.reporter import Beside, Reporter
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.judging import Judgement, contract_problems, judge_fault, judge_reports
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run
from analytics_refreshd.core.ports import Clock, EventLog, Metrics, Refresher, RefreshReply, StatusReader
from analytics_refreshd.core.retry import backoff_seconds, may_retry

_MARGIN_SECONDS = 1.0
_COMMAND_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class CycleSettings:
    """What a cycle needs to know. Replaced as a whole when the configuration is reloaded; a run under way keeps its."""

    views: tuple[str, ...]
    interval: timedelta
    lock_timeout_seconds: float
    deadline_seconds: float
    isolation: str
    rows_collapse_ratio: float
    slow_factor: float

    def slot_seconds(self, now: datetime, scheduled_at: datetime | None) -> float:
        """How long a run may go on, retries included: to the end of its slot, never under one deadline."""
        late = (now - scheduled_at).total_seconds() if scheduled_at else 0.0
        left = self.interval.total_seconds() - max(0.0, late) - _MARGIN_SECONDS
        return max(left, self.deadline_seconds)


@dataclass(frozen=True, slots=True)
class Watching:
    """How a run's backends are watched: the leader's thread does it for the daemon, a helper for one refresh."""

    begin: Callable[[LockWatch], None]
    end: Callable[[], None]


class Attempts:
    """Carries out one run at a time on the thread that calls it; the two cancelling calls come from others."""

    def __init__(
        self,
        settings: CycleSettings,
        *,
        refresher: Refresher,
        status: StatusReader,
        memory: Memory,
        health: DatabaseHealth,
        log: EventLog,
        metrics: Metrics,
        reporter: Reporter,
        clock: Clock,
        watching: Watching,
    ) -> None:
        self.settings = settings
        self._refresher = refresher
        self._status = status
        self._memory = memory
        self._health = health
        self._log = log
        self._metrics = metrics
        self._reporter = reporter
        self._clock = clock
        self.watching = watching
        self._stop = threading.Event()
        self._lost_leadership = threading.Event()
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._beside = Beside()

    def begin(self) -> None:
        """A new run may begin: losing the lead from here on cancels it. Call it before asking who leads."""
        self._lost_leadership.clear()

    @property
    def stopped(self) -> bool:
        """Whether no run may begin any more."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Cancel the run under way and let no other begin; wakes a retry that sleeps."""
        self._stop.set()
        self._refresher.cancel()

    def abandon(self) -> None:
        """Cancel the run under way because this replica no longer leads."""
        self._lost_leadership.set()
        self._refresher.cancel()

    def carry_out(self, run: Run, began_monotonic: float, settings: CycleSettings) -> tuple[Run, Beside]:
        """Call the refresh until it succeeds, cannot be retried, or the slot is over.

        Gives the finished run, and what its line in the log says beside it: notices, fold and rebuild.
        """
        slot_ends = began_monotonic + settings.slot_seconds(run.started_at, run.scheduled_at)
        latest_start = slot_ends - settings.deadline_seconds * 0.1
        attempts = 0
        watch = self._new_watch(settings)
        unsettled: DatabaseFault | None = None

        def once() -> RefreshReply:
            nonlocal attempts, watch, unsettled
            if self._lost_leadership.is_set():
                raise DatabaseFault(
                    "this replica no longer leads", error_class=ErrorClass.CANCELLED, reason=Reason.NOT_LEADER
                )
            if self._stop.is_set():
                # it woke a retry from its sleep
                raise DatabaseFault(
                    "the refresh was cancelled", error_class=ErrorClass.CANCELLED, reason=Reason.CANCELLED
                )
            attempts += 1
            self._limit(settings)
            watch = self._new_watch(settings)

            def started(pid: int) -> None:
                watch.add(pid)
                self.watching.begin(watch)

            try:
                self._rebuild(run)
                self._limit(settings)
                return self._refresher.refresh(run.run_id, started, lambda: self.cancelled)
            except DatabaseFault as fault:
                if fault.committing:
                    unsettled = fault
                raise
            finally:
                self.watching.end()

        def waiting(state: RetryCallState) -> float:
            return backoff_seconds(state.attempt_number, self._random.random(), cap_seconds=8.0)

        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, DatabaseFault)),
            stop=_SlotIsOver(self, latest_start, run.origin),
            wait=waiting,
            sleep=sleep_using_event(self._stop),
            before_sleep=lambda state: self._retrying(run, state),
            reraise=True,
        )
        self._beside = Beside()
        try:
            reply = retrying(once)
            self._believe(run.origin)
        except DatabaseFault as fault:
            self._health.failed(fault)
            total = self._clock.monotonic() - began_monotonic
            if fault.reason is Reason.OVERLAP and unsettled is None:
                judgement = Judgement(Outcome.SKIPPED, Reason.OVERLAP, None, fault.message, ())
            else:
                # a COMMIT whose answer was lost may have refreshed everything, whatever became of later attempts
                # a lead that goes with the server's connections is not why the run ended
                cancelled = self._stop.is_set() or (self.cancelled and fault.error_class is ErrorClass.CANCELLED)
                judgement = judge_fault(settings.views, unsettled or fault, cancelled=cancelled)
                if judgement.outcome is Outcome.CANCELLED and not self._stop.is_set():
                    judgement = replace(judgement, reason=Reason.NOT_LEADER)
        else:
            self._health.answered()
            total = self._clock.monotonic() - began_monotonic
            judgement = judge_reports(settings.views, reply.reports, watch.samples, reply.duration_seconds)
            self._memory.succeeded(judgement.views, self._memory.server_now())
            self._beside = replace(
                self._beside,
                fold_seconds=reply.fold_seconds,
                rebuild_reason=self._beside.rebuild_reason or reply.rebuild_reason,
                notices=reply.notice_count or None,
                notice_samples=reply.notices or None,
            )
        self._note_problems(judgement)
        finished = replace(
            run,
            finished_at=run.started_at + timedelta(seconds=total),
            outcome=judgement.outcome,
            reason=judgement.reason,
            sqlstate=judgement.sqlstate,
            error=judgement.error,
            duration_seconds=total,
            attempts=attempts,
            views=judgement.views,
            blockers=watch.blockers,
        )
        return finished, self._beside

    def _limit(self, settings: CycleSettings) -> None:
        """Each attempt has a deadline of its own: one that begins late in the slot is not overdue at the slot's end."""
        self._memory.update(run_deadline_monotonic=self._clock.monotonic() + settings.deadline_seconds)

    def _rebuild(self, run: Run) -> None:
        """Build the rollups first where they need it: that knows no deadline, as it takes what the table takes."""
        began = self._clock.monotonic()

        def started() -> None:
            self._memory.update(run_deadline_monotonic=None)

        reason = self._refresher.rebuild(run.run_id, started, lambda: self.cancelled)
        if reason is not None:
            seconds = self._clock.monotonic() - began
            self._beside = replace(self._beside, rebuild_reason=reason, rebuilt_seconds=seconds)

    def _believe(self, origin: Origin) -> None:
        """Ask again where other sessions of ours were lost meanwhile: a backend may outlive its postmaster, and what
        it says to have committed is true only if the server still serves. Raises DatabaseFault: nobody knows."""
        # the role is the first to go; a command leads nothing
        leads = origin is Origin.COMMAND or self._memory.facts().leadership.leads(self._clock.monotonic())
        if leads and not self._health.down and not self._lost_leadership.is_set():
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
        return LockWatch(settings.views, settings.lock_timeout_seconds, self._log, self._memory, self._clock)

    @property
    def cancelled(self) -> bool:
        """Whether the run under way was cancelled by a stop, or because this replica no longer leads."""
        return self._stop.is_set() or self._lost_leadership.is_set()

    def may_go_on(self, state: RetryCallState, latest_start: float, origin: Origin) -> bool:
        """Whether a failed attempt may be followed by another one; a person at a terminal is not kept waiting."""
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, DatabaseFault) or self.cancelled or error.reason is Reason.OVERLAP:
            return False
        if origin is Origin.COMMAND and state.attempt_number >= _COMMAND_ATTEMPTS:
            return False
        remaining = latest_start - self._clock.monotonic()
        delay = backoff_seconds(state.attempt_number, 1.0, cap_seconds=8.0)
        return may_retry(
            error.error_class, attempt=state.attempt_number, delay_seconds=delay, remaining_seconds=remaining
        )

    def _retrying(self, run: Run, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, DatabaseFault):
            self._health.failed(error)
            self._metrics.retried()
            self._reporter.retrying(run, error, attempt=state.attempt_number, wait_seconds=state.upcoming_sleep)

    def _note_problems(self, judgement: Judgement) -> None:
        if judgement.outcome not in (Outcome.SKIPPED, Outcome.CANCELLED):
            self._memory.update(problems=contract_problems(judgement))


class _SlotIsOver(stop_base):
    """tenacity's stop condition: asks the attempts."""

    def __init__(self, attempts: Attempts, latest_start: float, origin: Origin) -> None:
        self._attempts = attempts
        self._latest_start = latest_start
        self._origin = origin

    def __call__(self, retry_state: RetryCallState) -> bool:
        return not self._attempts.may_go_on(retry_state, self._latest_start, self._origin)
