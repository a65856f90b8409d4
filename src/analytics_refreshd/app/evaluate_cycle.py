"""Reads status and history every half minute, and evaluates the alerts. Never waits for a refresh."""

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta

from analytics_refreshd.app.alerts import AlertEvaluator
from analytics_refreshd.app.parts import Parts
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.delta import late_since
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.evaluating import deadline_seconds
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.evidence import overdue_since
from analytics_refreshd.core.metrics import CLOCK_SKEW
from analytics_refreshd.core.model import DatabaseStatus, Pause, Reason, Role, ViewStatus
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.ports import History, StatusReader
from analytics_refreshd.core.staleness import age_of
from analytics_refreshd.core.state import STATUS_MISSES_TOLERATED, State, kept_runs

_RUNS_READ = 12
_RUNS_AT_START = 400
_PRUNE_EVERY_SECONDS = 3600.0
_PRUNE_BATCH = 500
_RATES_EVERY_SECONDS = 300.0
_SIZES_EVERY_SECONDS = 600.0


class EvaluateCycle:
    """Reads status and history, evaluates every alert, and notifies.

    `others` are parts that are read after the status: what operators ask for, for one. `within` limits what the thread
    does on the database inside it to so many seconds: a server that hangs must not hold up the next evaluation.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        status: StatusReader,
        history: History,
        recorder: Recorder,
        alerts: AlertEvaluator,
        retention: timedelta,
        within: Callable[[float], AbstractContextManager[None]],
        others: Mapping[Part, Callable[[], None]] | None = None,
    ) -> None:
        self._status = status
        self._history = history
        self._recorder = recorder
        self._alerts = alerts
        self._state = runtime.state
        self._database = runtime.database
        self._log = runtime.log
        self._metrics = runtime.metrics
        self._clock = runtime.clock
        self._retention = retention
        self._within = within
        self._others = others or {}
        self._parts = Parts(runtime)
        self._turn = threading.Lock()
        self._rates_for: tuple[object, ...] = ()
        self._next_rates_monotonic = 0.0
        self._latency_problem: str | None = None
        self._pause_logged: Pause | None = None
        self._next_prune_monotonic = runtime.clock.monotonic()
        self._next_sizes_monotonic = runtime.clock.monotonic()
        self._loaded_runs = False
        self._outage_known = runtime.state.current.last_outage

    def run(self) -> None:
        """Evaluate once, after any evaluation under way: alerts move one step at a time."""
        with self._turn:
            self._state.change(lambda state: state.evaluation_began(self._clock.monotonic()))
            try:
                with self._within(deadline_seconds(self._state.current.limits.evaluate_seconds)):
                    self._read()
                    self._parts.run(Part.HISTORY, self._write_what_waited)
                    self._parts.run(Part.VIEWS, self._alerts.log_stale_views)
                    self._parts.run(Part.ALERTS, self._alerts.evaluate)
                    if self._recorder.pending and not self._database.down:
                        self._parts.run(Part.HISTORY, self._recorder.flush)
            finally:
                self._state.change(lambda state: state.evaluation_ended(self._clock.monotonic()))

    def _write_what_waited(self) -> None:
        """Write what waited for the database alone, before anything is said of it."""
        outage = self._state.current.last_outage
        if outage != self._outage_known and not self._database.down:
            self._outage_known = outage
            self._recorder.flush()

    def finish(self, within_seconds: float) -> None:
        """Wait for an evaluation under way. At a stop, what it changed is stored then."""
        if self._turn.acquire(timeout=within_seconds):
            self._turn.release()

    # -- reading ---------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read all that the rules need. What is broken in one place keeps nothing else from being read."""
        reads = (
            (Part.STATUS, self._read_status),
            *self._others.items(),
            (Part.PAUSE, self._read_pause),
            (Part.LEADER, self._read_leader),
            (Part.PROGRESS, self._read_progress),
            (Part.DELTA, self._read_delta),
            (Part.RETENTION, self._read_retention),
            (Part.RUNS, self._read_runs),
            (Part.DISK, self._read_sizes),
            (Part.RATES, self._read_rates),
            (Part.INSTALLATION, self._read_installation),
            (Part.ALERT_STORE, self._alerts.load),
            (Part.HOUSEKEEPING, self._housekeep),
        )
        for part, read in reads:
            if not self._parts.run(part, read):
                self._forget(part)
            if self._database.down:
                break
        self._state.change(lambda state: replace(state, unread=self._parts.failing))
        self._parts.run(Part.LEADERLESS, self._note_leaderless)
        self._parts.run(Part.PAUSE_LOG, self._log_pause)

    def _forget(self, part: Part) -> None:
        """Drop a figure that could not be read just now: shown on, it would look like today's."""
        if part is Part.RATES:
            self._state.change(lambda state: replace(state, rates=None))
        elif part is Part.DELTA:
            self._state.change(lambda state: state.without_delta_figures())
        elif part is Part.RETENTION:
            self._state.change(lambda state: replace(state, retention=None))
        elif part is Part.PROGRESS:
            self._state.change(lambda state: replace(state, progress=None))

    def _read_status(self) -> None:
        status = self._status.read()
        # the server's time is read last: a slow status function does not put the alerts' times into the future
        answered = self._clock.monotonic()
        self._database.answered()
        if self._database.down:
            # Connections were refused, and this one is older than that: only a new one shows that it is over. While
            # refreshes are paused nothing else makes one.
            self._status.reconnect()
        self._note_status(status, answered)

    def _read_pause(self) -> None:
        pause = self._status.pause()
        self._state.change(lambda state: replace(state, pause=pause))

    def _read_leader(self) -> None:
        leader = self._status.leader()
        if self._state.leads() or (leader is not None and leader.ours):
            self._state.change(lambda state: replace(state, leader=leader))

    def _read_progress(self) -> None:
        if not self._state.leads():
            progress = self._status.progress()
            self._state.change(lambda state: replace(state, progress=progress))

    def _read_retention(self) -> None:
        retention = self._status.retention()
        self._state.change(lambda state: replace(state, retention=retention))

    def _read_delta(self) -> None:
        known = self._state.current.delta
        delta = self._status.delta(known.waiting if known is not None else None)
        self._state.change(lambda state: replace(state, delta=delta))
        late = late_since(known, delta)
        if late and self._state.leads():
            self._log.emit(Event.ROWS_LATE, level="warning", rows=late, frozen_until=delta.frozen_until)
        overdue = replace(delta, overdue_since=overdue_since(self._state.snapshot()))
        self._state.change(lambda state: replace(state, delta=overdue))

    def _note_status(self, status: DatabaseStatus, read_monotonic: float) -> None:
        # of the database's own evidence: what this process noted is dated by reckoning
        if any(age_of(view, status.server_now).skewed for view in status.views):
            self._metrics.count(CLOCK_SKEW)

        def noted(state: State) -> State:
            misses = state.status_misses + 1 if status.problem or status.blocked else 0
            sizes = state.status if 0 < misses <= STATUS_MISSES_TOLERATED else None
            known = state.status if misses or status.unread else None
            views = tuple(_with_successes(_with_sizes(view, sizes), known) for view in status.views)
            read = replace(status, views=views)
            return replace(state, status=read, status_misses=misses, evaluated_monotonic=read_monotonic)

        self._state.change(noted)
        for part, text in ((Part.STATUS_FUNCTION, status.problem or status.blocked), (Part.RECORDS, status.unread)):
            if text is None:
                self._parts.succeeded(part)
            else:
                self._parts.failed(part, DatabaseFault(text, error_class=ErrorClass.PERMANENT, reason=Reason.OTHER))

    def _read_runs(self) -> None:
        available = self._history.available
        self._state.change(lambda state: replace(state, history_available=available))
        if not available:
            return
        limits = self._state.current.limits
        # among the runs of a frequent view those of the others are rare
        at_start = _RUNS_AT_START if limits.shortest_interval_seconds is None else kept_runs(limits)
        limit = _RUNS_READ if self._loaded_runs else at_start
        runs = self._history.recent(limit, since=self._state.server_now() - timedelta(hours=24))
        self._state.change(lambda state: state.with_runs(runs))
        self._loaded_runs = True

    def _read_sizes(self) -> None:
        now = self._clock.monotonic()
        if self._state.current.limits.disk_bytes is None or now < self._next_sizes_monotonic:
            return
        sizes = tuple(self._history.sizes(measure=self._state.leads()))
        self._state.change(lambda state: replace(state, sizes=sizes))
        self._next_sizes_monotonic = now + _SIZES_EVERY_SECONDS

    def _read_rates(self) -> None:
        """Read the 24 hours' figures where they may have moved: when the views did, and when the hours have."""
        snapshot = self._state.snapshot()
        ages = [age for view in snapshot.state.views if (age := snapshot.age(view)) is not None]
        moved = tuple((age.view, age.last_success_at) for age in ages if age.last_success_at)
        now = self._clock.monotonic()
        if moved != self._rates_for or snapshot.state.rates is None or now >= self._next_rates_monotonic:
            self._next_rates_monotonic = now + _RATES_EVERY_SECONDS
            try:
                rates = self._status.rates()
            except DatabaseFault as fault:
                problem = fault.message if fault.error_class is ErrorClass.PERMANENT else None
                self._state.change(lambda state: replace(state, rates_problem=problem))
                raise
            self._state.change(lambda state: replace(state, rates=rates, rates_problem=None))
            if rates.latency_problem and rates.latency_problem != self._latency_problem:
                text = f"the p95 is not known, and AnalyticsHighLatency not judged: {rates.latency_problem}"
                self._log.emit(Event.LIBRARY_MESSAGE, level="warning", library="rates", message=text)
            self._latency_problem = rates.latency_problem
            self._rates_for = moved
        self._state.change(lambda state: replace(state, rates_confirmed_monotonic=now))

    def _read_installation(self) -> None:
        problems = self._status.installation_problems()
        self._state.change(lambda state: replace(state, installation_problems=problems))

    def _housekeep(self) -> None:
        if not self._state.leads() or self._clock.monotonic() < self._next_prune_monotonic:
            return
        self._history.close_abandoned()
        if self._history.prune(self._retention, _PRUNE_BATCH) < _PRUNE_BATCH:
            self._next_prune_monotonic = self._clock.monotonic() + _PRUNE_EVERY_SECONDS

    def _note_leaderless(self) -> None:
        snapshot = self._state.snapshot()
        leader, since = snapshot.state.leader, snapshot.state.leaderless_since
        if snapshot.leads or (leader is not None and leader.ours) or snapshot.role is Role.STARTING:
            since = None
        elif since is None:
            since = snapshot.server_now
        self._state.change(lambda state: replace(state, leaderless_since=since))

    def _log_pause(self) -> None:
        """Log a pause that begins, changes its end, or is over."""
        pause = self._state.snapshot().pause
        if pause == self._pause_logged:
            return
        self._pause_logged = pause
        if pause is None:
            self._log.emit(Event.REFRESH_RESUMED)
        else:
            self._log.emit(
                Event.REFRESH_PAUSED, until=pause.ends_at, reason_text=pause.reason, created_by=pause.created_by
            )

    @property
    def paused(self) -> bool:
        """Whether the last evaluation saw a pause in force."""
        return self._pause_logged is not None


def _with_sizes(view: ViewStatus, known: DatabaseStatus | None) -> ViewStatus:
    """Keep the rows and size known before, where the status function failed just now."""
    before = next((one for one in known.views if one.view == view.view), None) if known is not None else None
    return view if before is None else replace(view, rows=before.rows, size_bytes=before.size_bytes)


def _with_successes(view: ViewStatus, known: DatabaseStatus | None) -> ViewStatus:
    """Keep the successes known before, where they could not be read just now: what happened stays true."""
    before = next((one for one in known.views if one.view == view.view), None) if known is not None else None
    if before is None:
        return view
    recorded = max(filter(None, (view.recorded_at, before.recorded_at)), default=None)
    return replace(view, recorded_at=recorded, claimed_at=view.claimed_at or before.claimed_at)
