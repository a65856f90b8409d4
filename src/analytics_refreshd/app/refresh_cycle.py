"""One tick's work: refresh, judge, record, tell."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from tenacity import RetryCallState, Retrying, retry_if_exception, sleep_using_event
from tenacity.stop import stop_base

from analytics_refreshd.app.database_health import DatabaseHealth
from analytics_refreshd.app.election import LockWatch
from analytics_refreshd.app.memory import Memory
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.reporter import Reporter, rounded
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.judging import Judgement, contract_problems, judge_fault, judge_reports
from analytics_refreshd.core.model import Origin, Outcome, Pause, Progress, Reason, Run
from analytics_refreshd.core.ports import Clock, EventLog, Metrics, Notifier, Refresher, RefreshReply, StatusReader
from analytics_refreshd.core.retry import backoff_seconds, may_retry

_MARGIN_SECONDS = 1.0
_COMMAND_ATTEMPTS = 3
_PATIENCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class CycleSettings:
    """What a cycle needs to know. Replaced as a whole when the configuration is reloaded."""

    views: tuple[str, ...]
    interval: timedelta
    deadline_seconds: float
    isolation: str
    rows_collapse_ratio: float
    slow_factor: float


@dataclass(frozen=True, slots=True)
class Watching:
    """How a run's backends are watched: the leader's thread does it for the daemon, a helper for one refresh."""

    begin: Callable[[LockWatch], None]
    end: Callable[[], None]


class RefreshCycle:
    """Runs one refresh at a time on the thread that calls it; `cancel` comes from another thread."""

    def __init__(
        self,
        settings: CycleSettings,
        *,
        refresher: Refresher,
        recorder: Recorder,
        status: StatusReader,
        memory: Memory,
        health: DatabaseHealth,
        log: EventLog,
        metrics: Metrics,
        notifier: Notifier,
        clock: Clock,
        watching: Watching,
        after_run: Callable[[Run], None],
    ) -> None:
        self.settings = settings
        self._refresher = refresher
        self._recorder = recorder
        self._status = status
        self._memory = memory
        self._health = health
        self._log = log
        self._reporter = Reporter(log, metrics, health)
        self._metrics = metrics
        self._notifier = notifier
        self._clock = clock
        self.watching = watching
        self._after_run = after_run
        self._stop = threading.Event()
        self._lost_leadership = threading.Event()
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._notices: dict[str, object] = {}

    # -- called by other threads -----------------------------------------------------------------------------

    def stop(self) -> None:
        """Cancel the run under way and start no other; wakes a retry that sleeps."""
        self._stop.set()
        self._refresher.cancel()

    def abandon(self) -> None:
        """Cancel the run under way because this replica no longer leads."""
        self._lost_leadership.set()
        self._refresher.cancel()

    def skip(self, reason: Reason, scheduled_at: datetime | None, origin: Origin = Origin.SCHEDULE) -> Run:
        """Record a slot without a refresh: counted, in history, and in the log once and then every twelfth time."""
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
        self._metrics.slot_skipped(reason)
        self._metrics.run_finished(run)
        self._reporter.skipped(run)
        self._record(run)
        return run

    def _record(self, run: Run) -> None:
        """Write `run`; where the database is away the evaluation does so when it is back. A command has no later."""
        self._recorder.finish(run, later=self._health.down and run.origin is Origin.SCHEDULE)

    # -- the cycle -------------------------------------------------------------------------------------------

    def run(self, scheduled_at: datetime | None, origin: Origin = Origin.SCHEDULE) -> Run | None:
        """Refresh once, or skip. None where nothing was due: a standby's slot, or a stop on its way."""
        if self._stop.is_set():
            return None
        if origin is Origin.SCHEDULE and not self._memory.leads():
            # While the database is away nobody can lead: its slots are still this replica's to account for.
            facts = self._memory.facts()
            if facts.down_since is not None and facts.accountable:
                self._health.slot_missed()
                return self.skip(Reason.CONNECT, scheduled_at)
            return None
        pause = self._pause()
        if pause is not None:
            return self.skip(Reason.PAUSED, scheduled_at, origin)
        return self._refresh(scheduled_at, origin)

    def _pause(self) -> Pause | None:
        try:
            # a status function that hangs must not hold up the refresh
            pause = self._status.pause(wait_seconds=_PATIENCE_SECONDS)
        except DatabaseFault as fault:
            self._health.failed(fault)
            return self._memory.facts().pause
        self._memory.update(pause=pause)
        return pause

    def _refresh(self, scheduled_at: datetime | None, origin: Origin) -> Run:
        self._lost_leadership.clear()
        began, began_monotonic = self._clock.now(), self._clock.monotonic()
        run = self.new_run(scheduled_at, origin, began)
        self._memory.update(
            progress=Progress(run.run_id, began, 0.0),
            run_deadline_monotonic=began_monotonic + self._slot_seconds(began, scheduled_at),
        )
        self._log.emit(Event.REFRESH_STARTED, level="debug", run_id=run.run_id, scheduled_at=scheduled_at)
        self._notifier.cycle("start", run)
        if not self._health.down:
            self._recorder.begin(run)
        try:
            finished = self._attempts(run, began_monotonic)
        except BaseException as error:
            if origin is not Origin.SCHEDULE:
                raise
            finished = self._crashed(run, error, began_monotonic)
        finally:
            self._memory.update(progress=None, run_deadline_monotonic=None)
        if finished.outcome is Outcome.SKIPPED:
            self._metrics.slot_skipped(finished.reason or Reason.OVERLAP)
        # before the line is out: who reads it may scrape at once
        self._metrics.run_finished(finished)
        self._reporter.finished(
            finished,
            [item for item in self._memory.runs() if item.run_id != finished.run_id and item.outcome is not None],
            rows_collapse_ratio=self.settings.rows_collapse_ratio,
            slow_factor=self.settings.slow_factor,
            notices=self._notices,
        )
        self._record(finished)
        self._metrics.cycle_finished(self._clock.monotonic() - began_monotonic)
        self._notifier.cycle("success" if finished.outcome is Outcome.OK else "fail", finished)
        self._after_run(finished)
        return finished

    def _crashed(self, run: Run, error: BaseException, began_monotonic: float) -> Run:
        """A mistake in the program ended the cycle: a failed run all the same, so that its slot is accounted for."""
        self._log.emit(
            Event.LIBRARY_MESSAGE,
            level="error",
            library="analytics_refreshd",
            message="a defect of this program ended the cycle",
            exception=error,
        )
        fault = DatabaseFault(type(error).__name__, error_class=ErrorClass.PERMANENT, reason=Reason.INTERNAL)
        judgement = judge_fault(self.settings.views, fault, cancelled=self._cancelled())
        seconds = self._clock.monotonic() - began_monotonic
        return replace(
            run,
            finished_at=run.started_at + timedelta(seconds=seconds),
            outcome=judgement.outcome,
            reason=judgement.reason,
            error=judgement.error,
            duration_seconds=seconds,
            views=judgement.views,
        )

    def new_run(self, scheduled_at: datetime | None, origin: Origin, began: datetime) -> Run:
        """A run that begins at `began`."""
        return Run(
            uuid4(),
            origin,
            began,
            scheduled_at=scheduled_at,
            lateness_seconds=max(0.0, (began - scheduled_at).total_seconds()) if scheduled_at else None,
            replica=self._memory.identity.replica,
            leader_epoch=self._memory.facts().leadership.epoch,
            isolation=self.settings.isolation,
        )

    def _slot_seconds(self, now: datetime, scheduled_at: datetime | None) -> float:
        """How long this run may go on, retries included: to the end of its slot, never under one deadline."""
        late = (now - scheduled_at).total_seconds() if scheduled_at else 0.0
        left = self.settings.interval.total_seconds() - max(0.0, late) - _MARGIN_SECONDS
        return max(left, self.settings.deadline_seconds)

    def _attempts(self, run: Run, began_monotonic: float) -> Run:
        """Call the refresh until it succeeds, cannot be retried, or the slot is over."""
        slot_ends = began_monotonic + self._slot_seconds(run.started_at, run.scheduled_at)
        attempts = 0
        watch = self._new_watch()
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
            watch = self._new_watch()

            def started(pid: int) -> None:
                watch.add(pid)
                self.watching.begin(watch)

            try:
                self._rebuild(run)
                return self._refresher.refresh(run.run_id, started)
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
            stop=_SlotIsOver(self, slot_ends, run.origin),
            wait=waiting,
            sleep=sleep_using_event(self._stop),
            before_sleep=lambda state: self._retrying(run, state),
            reraise=True,
        )
        self._notices = {}
        try:
            reply = retrying(once)
            self._believe(run.origin)
        except DatabaseFault as fault:
            self._health.failed(fault)
            total = self._clock.monotonic() - began_monotonic
            if fault.reason is Reason.OVERLAP:
                judgement = Judgement(Outcome.SKIPPED, Reason.OVERLAP, None, fault.message, ())
            else:
                # a COMMIT whose answer was lost may have refreshed everything, whatever became of later attempts
                judgement = judge_fault(self.settings.views, unsettled or fault, cancelled=self._cancelled())
                if judgement.outcome is Outcome.CANCELLED and not self._stop.is_set():
                    judgement = replace(judgement, reason=Reason.NOT_LEADER)
        else:
            self._health.answered()
            total = self._clock.monotonic() - began_monotonic
            judgement = judge_reports(self.settings.views, reply.reports, watch.samples, reply.duration_seconds)
            self._memory.succeeded(judgement.views, self._memory.server_now())
            if reply.fold_seconds is not None:
                self._notices["fold_seconds"] = rounded(reply.fold_seconds)
            if reply.rebuild_reason is not None:
                self._notices.setdefault("rebuild_reason", reply.rebuild_reason)
            if reply.notice_count:
                self._notices |= {"notices": reply.notice_count, "notice_samples": list(reply.notices)}
        self._note_problems(judgement)
        return replace(
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

    def _rebuild(self, run: Run) -> None:
        """Build the rollups first where they need it: that knows no deadline, as it takes what the table takes."""
        began = self._clock.monotonic()
        building = False

        def started() -> None:
            nonlocal building
            building = True
            self._memory.update(run_deadline_monotonic=None)

        try:
            reason = self._refresher.rebuild(run.run_id, started)
        finally:
            if building:
                now = self._clock.monotonic()
                self._memory.update(run_deadline_monotonic=now + self.settings.deadline_seconds)
        if reason is None:
            return
        self._notices |= {"rebuild_reason": reason, "rebuilt_seconds": rounded(self._clock.monotonic() - began)}
        if self._cancelled():
            raise DatabaseFault("the refresh was cancelled", error_class=ErrorClass.CANCELLED, reason=Reason.CANCELLED)

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
            if fault.error_class not in (ErrorClass.CONNECT, ErrorClass.CONN_LOST, ErrorClass.NOT_PRIMARY):
                return
            raise DatabaseFault(
                f"the refresh's session reported success, and the server was gone: {fault.message}",
                error_class=ErrorClass.CONN_LOST,
                reason=Reason.CONN_LOST,
                committing=True,
            ) from None

    def _new_watch(self) -> LockWatch:
        return LockWatch(self.settings.views, self._log, self._memory, self._clock)

    def _cancelled(self) -> bool:
        return self._stop.is_set() or self._lost_leadership.is_set()

    def may_go_on(self, state: RetryCallState, slot_ends: float, origin: Origin) -> bool:
        """Whether a failed attempt may be followed by another one; a person at a terminal is not kept waiting."""
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, DatabaseFault) or self._cancelled() or error.reason is Reason.OVERLAP:
            return False
        if error.committing:
            # refreshing again is harmless, and settles what became of the lost commit
            return state.attempt_number < 3
        if origin is Origin.COMMAND and state.attempt_number >= _COMMAND_ATTEMPTS:
            return False
        remaining = slot_ends - self._clock.monotonic() - self.settings.deadline_seconds * 0.1
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
    """tenacity's stop condition: asks the cycle."""

    def __init__(self, cycle: RefreshCycle, slot_ends: float, origin: Origin) -> None:
        self._cycle = cycle
        self._slot_ends = slot_ends
        self._origin = origin

    def __call__(self, retry_state: RetryCallState) -> bool:
        return not self._cycle.may_go_on(retry_state, self._slot_ends, self._origin)
