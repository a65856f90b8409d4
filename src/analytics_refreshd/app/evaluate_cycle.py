"""Every half minute: how old is what, and whom to tell. Never waits for a refresh."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from analytics_refreshd.app.database_health import DatabaseHealth
from analytics_refreshd.app.memory import Memory
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.core.alerting import Alert, AlertRecord, AlertState, step
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import DatabaseStatus, Delta, Limits, Role
from analytics_refreshd.core.ports import AlertStore, Clock, EventLog, History, Metrics, Notifier, StatusReader
from analytics_refreshd.core.rules import Situation, conditions
from analytics_refreshd.core.staleness import Age, Verdict, age_of, verdict

_RESOLVED_KEPT = timedelta(minutes=15)
_RUNS_READ = 12
_PRUNE_EVERY_SECONDS = 3600.0
_PRUNE_BATCH = 500

AlertKey = tuple[Alert, str]


class EvaluateCycle:
    """Reads status and history, judges every alert, and hands what fires to the notifier while this replica leads."""

    def __init__(
        self,
        *,
        status: StatusReader,
        history: History,
        recorder: Recorder,
        store: AlertStore,
        notifier: Notifier,
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
        self._store = store
        self._notifier = notifier
        self._memory = memory
        self._health = health
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._retention = retention
        self._turn = threading.Lock()
        self._adopted = False
        self._unsaved: dict[AlertKey, AlertRecord | None] = {}
        self._rates_for: tuple[object, ...] = ()
        self._status_misses = 0
        self._stale: frozenset[str] = frozenset()
        self._paused = False
        self._next_prune_monotonic = clock.monotonic()
        self._loaded_runs = False

    def run(self) -> None:
        """One evaluation; waits for another under way to end, so that alerts move one step at a time."""
        with self._turn:
            self._read()
            self._tell_of_staleness()
            self._judge()
            if self._recorder.pending and not self._health.down:
                self._recorder.flush()

    def finish(self, within_seconds: float) -> None:
        """At a stop: let an evaluation under way end, so that what it changed is stored."""
        if self._turn.acquire(timeout=within_seconds):
            self._turn.release()

    def forget_adoption(self) -> None:
        """Read the alert records anew: another replica may have changed them while this one did not lead."""
        self._adopted = False

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
        for read in (self._read_runs, self._read_rates, self._adopt, self._housekeep):
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
        if status.problem and self._status_misses < 3:
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

    def _adopt(self) -> None:
        """Take over the alerts in the database: once as leader, and every time as a standby, which shows them."""
        if self._adopted and self._memory.leads():
            return
        try:
            records = {(record.alert, record.view): record for record in self._store.load()}
        except DatabaseFault as fault:
            if fault.error_class is not ErrorClass.PERMANENT:
                raise
            records = self._memory.alerts()  # the table is gone: what this process knows is all there is
        for key, unsaved in self._unsaved.items():
            if unsaved is None:
                records.pop(key, None)
            else:
                records[key] = unsaved
        if records or self._history.available:
            self._memory.set_alerts(records)
        self._adopted = self._memory.leads()

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

    # -- judging ---------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        facts = self._memory.facts()
        now = self._memory.server_now()
        before = self._memory.alerts()
        situation = Situation(
            database=self._memory.identity.database,
            now=now,
            views=facts.views,
            ages=self._current_ages(facts.ages or {}, facts.evaluated_monotonic),
            runs=[run for run in self._memory.runs() if run.outcome is not None],
            rates=facts.rates,
            database_down_since=facts.down_since,
            database_error=facts.down_error,
            last_outage=facts.last_outage,
            history_failing_since=self._recorder.failing_since,
            history_pending=self._recorder.pending,
            leaderless_since=facts.leaderless_since,
            leaderless_reason=facts.leaderless_reason,
            contract_problems=self._problems(facts.problems, facts.status, facts.delta),
            pause=facts.pause,
            blocker=facts.progress.blocker if facts.progress else None,
            firing=frozenset(key for key, record in before.items() if record.state is AlertState.FIRING),
        )
        if self._memory.leads() and not self._adopted and not self._health.down:
            return  # what fires already is not known yet: judging now would raise it a second time
        after: dict[AlertKey, AlertRecord] = {}
        news: list[AlertRecord] = []
        limits = self._patient(facts.limits)
        for condition in conditions(situation, limits):
            key = (condition.alert, condition.view)
            taken = step(before.get(key), condition, now)
            if taken.record is not None:
                after[key] = taken.record
            if taken.became is not None and taken.record is not None:
                news.append(taken.record)
        for key, record in before.items():
            if key not in after and record.view not in ("", *facts.views) and record.state is AlertState.FIRING:
                # a view that left the configuration resolves what it raised
                after[key] = replace(record, state=AlertState.RESOLVED, resolved_at=now)
                news.append(after[key])
        after = {
            key: record
            for key, record in after.items()
            if record.resolved_at is None or now - record.resolved_at < _RESOLVED_KEPT
        }
        self._memory.set_alerts(after)
        if self._speaks():
            # stored first: a restart between the two repeats nothing, and the notifier delivers what it has not yet
            self._save(before, after)
            for record in news:
                self._tell(record)
            self._deliver(after)

    def _speaks(self) -> bool:
        """Only the leader logs, stores and delivers; while the database is away, the last leader does."""
        if self._memory.leads():
            return True
        facts = self._memory.facts()
        return facts.down_since is not None or facts.leaderless_since is not None

    def _patient(self, limits: Limits) -> Limits:
        """A standby waits twice as long before it cries that the database is away: the last leader goes first."""
        if self._memory.facts().accountable:
            return limits
        return replace(limits, database_unavailable_for_seconds=2 * limits.database_unavailable_for_seconds)

    def _current_ages(self, ages: Mapping[str, Age], evaluated_monotonic: float | None) -> dict[str, Age]:
        if evaluated_monotonic is None:
            return dict(ages)
        passed = self._clock.monotonic() - evaluated_monotonic
        return {
            view: replace(age, seconds=age.seconds + passed) if age.seconds is not None else age
            for view, age in ages.items()
        }

    def _problems(
        self, problems: tuple[str, ...], status: DatabaseStatus | None, delta: Delta | None
    ) -> tuple[str, ...]:
        found = list(problems)
        if delta is not None:
            found.extend(delta.problems)
        if status is not None and status.problem and self._status_misses >= 3:
            found.append(status.problem)
        return tuple(found)

    def _save(self, before: Mapping[AlertKey, AlertRecord], after: Mapping[AlertKey, AlertRecord]) -> None:
        self._unsaved |= {key: record for key, record in after.items() if before.get(key) != record}
        self._unsaved |= {key: None for key in before if key not in after}
        if not self._unsaved or self._health.down or not self._memory.leads():
            return
        changed = [record for record in self._unsaved.values() if record is not None]
        removed = [before[key] for key, record in self._unsaved.items() if record is None and key in before]
        try:
            self._store.save(changed, removed)
        except DatabaseFault as fault:
            self._health.failed(fault)
        else:
            self._unsaved.clear()

    def _deliver(self, records: Mapping[AlertKey, AlertRecord]) -> None:
        told = [record for record in records.values() if record.state is not AlertState.PENDING]
        away = records.get((Alert.DATABASE_UNAVAILABLE, ""))
        holding = away is not None and away.state is AlertState.FIRING
        own = [record for record in told if record.alert is Alert.DATABASE_UNAVAILABLE]
        rest = [record for record in told if record.alert is not Alert.DATABASE_UNAVAILABLE]
        self._notifier.alerts(own if holding else told, inhibited=rest if holding else [])
        self._memory.update(delivery=self._notifier.status())

    # -- telling ---------------------------------------------------------------------------------------------

    def _tell(self, record: AlertRecord) -> None:
        event = {
            AlertState.PENDING: Event.ALERT_PENDING,
            AlertState.FIRING: Event.ALERT_FIRING,
            AlertState.RESOLVED: Event.ALERT_RESOLVED,
        }[record.state]
        self._log.emit(
            event,
            level="warning" if record.state is AlertState.FIRING else "info",
            alert=record.alert.value,
            view=record.view or None,
            severity=record.severity.value,
            active_at=record.active_at,
            fired_at=record.fired_at,
            resolved_at=record.resolved_at,
            summary=record.summary,
            description=record.description,
            run_id=record.run_id,
        )

    def _tell_of_staleness(self) -> None:
        facts = self._memory.facts()
        ages = self._current_ages(facts.ages or {}, facts.evaluated_monotonic)
        limits = facts.limits
        stale = frozenset(
            view
            for view, age in ages.items()
            if view in limits.max_age_seconds
            and verdict(age.seconds, limits.max_age_seconds[view], limits.interval_seconds)
            in (Verdict.STALE, Verdict.UNKNOWN)
        )
        if self._speaks():
            for view in sorted(stale - self._stale):
                age = ages[view]
                self._log.emit(
                    Event.VIEW_STALE,
                    level="warning",
                    view=view,
                    age_seconds=round(age.seconds, 3) if age.seconds is not None else None,
                    max_age_seconds=limits.max_age_seconds[view],
                    last_success_at=age.last_success_at,
                    doubt=age.doubt,
                )
        self._stale = stale

    def _tell_of_pause(self) -> None:
        pause = self._memory.facts().pause
        if pause is not None and pause.ends_at <= self._memory.server_now():
            pause = None
            self._memory.update(pause=None)
        if (pause is not None) != self._paused:
            self._paused = pause is not None
            if pause is not None:
                self._log.emit(
                    Event.REFRESH_PAUSED, until=pause.ends_at, reason_text=pause.reason, created_by=pause.created_by
                )
            else:
                self._log.emit(Event.REFRESH_RESUMED)

    @property
    def paused(self) -> bool:
        """Whether the last evaluation saw a pause in force."""
        return self._paused
