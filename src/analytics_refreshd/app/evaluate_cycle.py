"""Every half minute: how old is what, and whom to tell. Never waits for a refresh."""

import threading
from dataclasses import replace
from datetime import timedelta

from analytics_refreshd.app.alerts import STATUS_MISSES_TOLERATED, Alerts
from analytics_refreshd.app.database_health import DatabaseHealth
from analytics_refreshd.app.memory import Memory
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import DatabaseStatus, Pause, Role
from analytics_refreshd.core.ports import Clock, EventLog, History, Metrics, StatusReader
from analytics_refreshd.core.staleness import Age, age_of

_RUNS_READ = 12
_PRUNE_EVERY_SECONDS = 3600.0
_PRUNE_BATCH = 500


class EvaluateCycle:
    """Reads status and history, judges every alert, and hands over what this replica has to tell."""

    def __init__(
        self,
        *,
        status: StatusReader,
        history: History,
        recorder: Recorder,
        alerts: Alerts,
        memory: Memory,
        health: DatabaseHealth,
        log: EventLog,
        metrics: Metrics,
        clock: Clock,
        retention: timedelta,
    ) -> None:
        self._status = status
        self._history = history
        self._recorder = recorder
        self._alerts = alerts
        self._memory = memory
        self._health = health
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._retention = retention
        self._turn = threading.Lock()
        self._rates_for: tuple[object, ...] = ()
        self._status_misses = 0
        self._pause_told: Pause | None = None
        self._next_prune_monotonic = clock.monotonic()
        self._loaded_runs = False

    def run(self) -> None:
        """One evaluation; waits for another under way to end, so that alerts move one step at a time."""
        with self._turn:
            self._read()
            self._alerts.tell_of_staleness()
            self._alerts.judge(status_misses=self._status_misses)
            if self._recorder.pending and not self._health.down:
                self._recorder.flush()

    def finish(self, within_seconds: float) -> None:
        """At a stop: let an evaluation under way end, so that what it changed is stored."""
        if self._turn.acquire(timeout=within_seconds):
            self._turn.release()

    # -- reading ---------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            asked = self._clock.monotonic()
            status = self._status.read()
            answered = self._clock.monotonic()
            self._health.answered()
            self._note_status(status, (asked + answered) / 2)
            pause = self._status.pause()
            leader = self._status.leader()
            progress = self._status.progress() if not self._memory.leads() else self._memory.facts().progress
            self._memory.update(pause=pause, delta=self._status.delta(), progress=progress)
            if self._memory.leads() or (leader is not None and leader.ours):
                self._memory.update(leader=leader)
        except DatabaseFault as fault:
            self._health.failed(fault)
        # what is broken in one place must not keep the rest from being read and judged
        for read in (self._read_runs, self._read_rates, self._alerts.load, self._housekeep):
            if self._health.down:
                break
            try:
                read()
            except DatabaseFault as fault:
                self._health.failed(fault)
        self._note_leaderless()
        self._tell_of_pause()

    def _note_status(self, status: DatabaseStatus, read_monotonic: float) -> None:
        self._status_misses = self._status_misses + 1 if status.problem else 0
        if status.problem and self._status_misses <= STATUS_MISSES_TOLERATED:
            known = self._memory.facts().status
            if known is not None:
                sizes = {item.view: item for item in known.views}
                status = replace(
                    status,
                    views=tuple(
                        replace(item, rows=sizes[item.view].rows, size_bytes=sizes[item.view].size_bytes)
                        if item.view in sizes
                        else item
                        for item in status.views
                    ),
                )
        ages: dict[str, Age] = {}
        for item in status.views:
            own = self._memory.own_success(item.view)
            if own is not None and (item.recorded_at is None or own > item.recorded_at):
                item = replace(item, recorded_at=own)
            ages[item.view] = age_of(item, status.server_now)
        # of the database's own evidence: what this process noted is dated by reckoning
        if any(age_of(item, status.server_now).skewed for item in status.views):
            self._metrics.clock_skewed()
        self._memory.update(status=status, ages=ages, evaluated_monotonic=read_monotonic)

    def _read_runs(self) -> None:
        if not self._history.available:
            return
        limit = _RUNS_READ if self._loaded_runs else 400
        self._memory.remember(self._history.recent(limit, since=self._memory.server_now() - timedelta(hours=24)))
        self._loaded_runs = True

    def _read_rates(self) -> None:
        """The 24 hours' figures move only when the views do."""
        ages = self._memory.facts().ages or {}
        moved = tuple(sorted((view, age.last_success_at) for view, age in ages.items() if age.last_success_at))
        if moved != self._rates_for or self._memory.facts().rates is None:
            self._memory.update(rates=self._status.rates())
            self._rates_for = moved

    def _housekeep(self) -> None:
        if not self._memory.leads() or self._clock.monotonic() < self._next_prune_monotonic:
            return
        self._history.close_abandoned()
        if self._history.prune(self._retention, _PRUNE_BATCH) < _PRUNE_BATCH:
            self._next_prune_monotonic = self._clock.monotonic() + _PRUNE_EVERY_SECONDS

    def _note_leaderless(self) -> None:
        facts = self._memory.facts()
        led = self._memory.leads() or (facts.leader is not None and facts.leader.ours)
        if led or self._memory.role() is Role.STARTING:
            self._memory.update(leaderless_since=None)
        elif facts.leaderless_since is None:
            self._memory.update(leaderless_since=self._memory.server_now())

    def _tell_of_pause(self) -> None:
        pause = self._memory.facts().pause
        if pause is not None and pause.ends_at <= self._memory.server_now():
            pause = None
            self._memory.update(pause=None)
        if pause != self._pause_told:  # a new one, or one that ends at another time than was told
            self._pause_told = pause
            if pause is not None:
                self._log.emit(
                    Event.REFRESH_PAUSED, until=pause.ends_at, reason_text=pause.reason, created_by=pause.created_by
                )
            else:
                self._log.emit(Event.REFRESH_RESUMED)

    @property
    def paused(self) -> bool:
        """Whether the last evaluation saw a pause in force."""
        return self._pause_told is not None
