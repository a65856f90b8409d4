"""Reads status and history every half minute, and evaluates the alerts. Never waits for a refresh."""

import threading
from dataclasses import replace
from datetime import timedelta

from analytics_refreshd.app.alerts import AlertEvaluator
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.evidence import overdue_since
from analytics_refreshd.core.metrics import CLOCK_SKEW
from analytics_refreshd.core.model import DatabaseStatus, Pause, Role, ViewStatus
from analytics_refreshd.core.ports import History, StatusReader
from analytics_refreshd.core.staleness import age_of
from analytics_refreshd.core.state import STATUS_MISSES_TOLERATED, State

_RUNS_READ = 12
_PRUNE_EVERY_SECONDS = 3600.0
_PRUNE_BATCH = 500


class EvaluateCycle:
    """Reads status and history, evaluates every alert, and notifies."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        status: StatusReader,
        history: History,
        recorder: Recorder,
        alerts: AlertEvaluator,
        retention: timedelta,
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
        self._turn = threading.Lock()
        self._rates_for: tuple[object, ...] = ()
        self._pause_logged: Pause | None = None
        self._next_prune_monotonic = runtime.clock.monotonic()
        self._loaded_runs = False

    def run(self) -> None:
        """Evaluate once, after any evaluation under way: alerts move one step at a time."""
        with self._turn:
            self._read()
            self._alerts.log_stale_views()
            self._alerts.evaluate()
            if self._recorder.pending and not self._database.down:
                self._recorder.flush()

    def finish(self, within_seconds: float) -> None:
        """Wait for an evaluation under way. At a stop, what it changed is stored then."""
        if self._turn.acquire(timeout=within_seconds):
            self._turn.release()

    # -- reading ---------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            asked = self._clock.monotonic()
            status = self._status.read()
            answered = self._clock.monotonic()
            self._database.answered()
            self._note_status(status, (asked + answered) / 2)
            self._read_beside_status()
        except DatabaseFault as fault:
            self._database.failed(fault)
        # what is broken in one place must not keep the rest from being read and evaluated
        for read in (self._read_runs, self._read_rates, self._read_installation, self._alerts.load, self._housekeep):
            if self._database.down:
                break
            try:
                read()
            except DatabaseFault as fault:
                self._database.failed(fault)
        self._note_leaderless()
        self._log_pause()

    def _read_beside_status(self) -> None:
        pause, leader = self._status.pause(), self._status.leader()
        progress = self._status.progress() if not self._state.leads() else self._state.current.progress
        known = self._state.current.delta
        delta = self._status.delta(known.waiting if known is not None else None)
        self._state.change(lambda state: replace(state, pause=pause, delta=delta, progress=progress))
        overdue = replace(delta, overdue_since=overdue_since(self._state.snapshot()))
        self._state.change(lambda state: replace(state, delta=overdue))
        if self._state.leads() or (leader is not None and leader.ours):
            self._state.change(lambda state: replace(state, leader=leader))

    def _note_status(self, status: DatabaseStatus, read_monotonic: float) -> None:
        # of the database's own evidence: what this process noted is dated by reckoning
        if any(age_of(view, status.server_now).skewed for view in status.views):
            self._metrics.count(CLOCK_SKEW)

        def noted(state: State) -> State:
            misses = state.status_misses + 1 if status.problem else 0
            sizes = state.status if 0 < misses <= STATUS_MISSES_TOLERATED else None
            views = tuple(_with_success(_with_sizes(view, sizes), state) for view in status.views)
            read = replace(status, views=views)
            return replace(state, status=read, status_misses=misses, evaluated_monotonic=read_monotonic)

        self._state.change(noted)

    def _read_runs(self) -> None:
        if not self._history.available:
            return
        limit = _RUNS_READ if self._loaded_runs else 400
        runs = self._history.recent(limit, since=self._state.server_now() - timedelta(hours=24))
        self._state.change(lambda state: state.with_runs(runs))
        self._loaded_runs = True

    def _read_rates(self) -> None:
        """Read the 24 hours' figures where they may have moved: when the views did."""
        snapshot = self._state.snapshot()
        ages = [age for view in snapshot.state.views if (age := snapshot.age(view)) is not None]
        moved = tuple((age.view, age.last_success_at) for age in ages if age.last_success_at)
        if moved != self._rates_for or snapshot.state.rates is None:
            rates = self._status.rates()
            self._state.change(lambda state: replace(state, rates=rates))
            self._rates_for = moved

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


def _with_success(view: ViewStatus, state: State) -> ViewStatus:
    """Count this process's own success where it is later than what is recorded."""
    own = state.own_success.get(view.view)
    newer = own is not None and (view.recorded_at is None or own > view.recorded_at)
    return replace(view, recorded_at=own) if newer else view
