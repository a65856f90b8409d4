"""What fires: judged by pure rules, stored first, then logged and handed to the notifier by whoever has to tell of it.

The leader tells of everything, and so does the last one while the database is away. A replica that does not lead tells
only of what it found out by itself: that the database is away, or that nobody leads. It raises that under a key of its
own, so that it alone can tell of the end, and does so whoever leads by then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from analytics_refreshd.app.database_health import DatabaseHealth
from analytics_refreshd.app.memory import Facts, Memory
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.core.alerts.lifecycle import (
    WITHOUT_LEAD,
    Alert,
    AlertKey,
    AlertRecord,
    AlertState,
    fires_in_seconds,
    resolved,
    step,
    unfinished,
)
from analytics_refreshd.core.alerts.rules import Situation, conditions
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.ports import AlertStore, Clock, EventLog, History, Notifier
from analytics_refreshd.core.retry import worth_waiting
from analytics_refreshd.core.staleness import Age, Verdict, verdict

_RESOLVED_KEPT = timedelta(minutes=15)
STATUS_MISSES_TOLERATED = 2
"""How often in a row the status function may fail before that is a problem, and its last sizes are forgotten."""


class Alerts:
    """The alerts of one database. Not safe for two threads at once: the evaluation calls it in turn."""

    def __init__(
        self,
        *,
        store: AlertStore,
        history: History,
        notifier: Notifier,
        recorder: Recorder,
        memory: Memory,
        health: DatabaseHealth,
        log: EventLog,
        clock: Clock,
    ) -> None:
        self._store = store
        self._history = history
        self._notifier = notifier
        self._recorder = recorder
        self._memory = memory
        self._health = health
        self._log = log
        self._clock = clock
        self._loaded = False
        self._unread_since: float | None = None
        self._unsaved: dict[AlertKey, AlertRecord | None] = {}
        self._stale: frozenset[str] = frozenset()
        self.next_fires_in_seconds: float | None = None
        """How long until the next pending alert fires, as the last `judge` found it; None where none is pending."""
        self._memory.update(delivery=notifier.status())

    def invalidate(self) -> None:
        """Load the alert records again: another leader may have changed them."""
        self._loaded = False

    def load(self) -> None:
        """Load the alerts from the database.

        A leader loads them once; a standby, which only shows them, every time.
        """
        leads = self._memory.leads()
        if self._loaded and leads:
            return
        # the lead was lost and no replica has taken it since: this process still knows the newest state
        led_last = self._loaded and self._memory.facts().owns_missed_slots
        if not led_last:
            self._notifier.invalidate()
        stored: dict[AlertKey, AlertRecord] = {}
        try:
            stored = {(record.alert, record.view): record for record in self._store.load()}
        except DatabaseFault as fault:
            now = self._clock.monotonic()
            if self._unread_since is None or fault.error_class.away:
                self._unread_since = now
            if worth_waiting(fault.error_class, waited_seconds=now - self._unread_since):
                raise
            records = self._memory.alerts()  # the store fails, so only this process knows them
        else:
            self._unread_since = None
            records = dict(stored) if stored or self._history.available else self._memory.alerts()
        if not leads and not led_last:
            self._unsaved = unfinished(self._unsaved, stored)
        for key, unsaved in self._unsaved.items():
            if unsaved is None:
                records.pop(key, None)
            else:
                records[key] = unsaved
        self._memory.set_alerts(records)
        self._loaded = leads or led_last

    def judge(self, *, status_misses: int) -> None:
        """Judge every rule on what is known now; `status_misses` is how often the status function failed in a row."""
        # first, and whoever leads: without it a standby's page would say that there is no receiver
        self._memory.update(delivery=self._notifier.status())
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
            contract_problems=_problems(facts, status_misses),
            pause=facts.pause,
            blocker=facts.progress.blocker if facts.progress else None,
            firing=frozenset(key for key, record in before.items() if record.state is AlertState.FIRING),
        )
        if self._memory.leads() and not self._loaded and not self._health.down:
            return  # the firing alerts are not loaded yet: a rule would raise them a second time
        after: dict[AlertKey, AlertRecord] = {}
        news: list[AlertRecord] = []
        waits: list[float] = []
        limits = self._patient(facts.limits)
        for condition in conditions(situation, limits):
            key = (condition.alert, condition.view)
            taken = step(before.get(key), condition, now)
            if taken.record is not None:
                after[key] = taken.record
            if taken.became is not None and taken.record is not None:
                news.append(taken.record)
            left = fires_in_seconds(taken.record, condition, now)
            if left is not None:
                waits.append(left)
        self.next_fires_in_seconds = min(waits, default=None)
        for key, record in before.items():
            if key in after or record.view in ("", *facts.views):
                continue
            # a view that left the configuration resolves what it raised, and that is told like any resolution
            if record.state is AlertState.FIRING:
                after[key] = resolved(record, now)
                news.append(after[key])
            elif record.state is AlertState.RESOLVED:
                after[key] = record
        after = {
            key: record
            for key, record in after.items()
            if record.resolved_at is None or now - record.resolved_at < _RESOLVED_KEPT
        }
        self._memory.set_alerts(after)
        in_charge = self._in_charge()
        self._keep(before, after, in_charge=in_charge)
        mine = frozenset(after if in_charge else self._unsaved)
        # stored first: a restart between the two repeats nothing, and the notifier delivers what it has not yet
        self._save()
        for record in news:
            if (record.alert, record.view) in mine:
                self._tell(record)
        told = [record for key, record in after.items() if key in mine and record.state is not AlertState.PENDING]
        # while nobody leads nobody else keeps the rest from expiring at an Alertmanager, which would look resolved
        leaderless = facts.leaderless_since is not None and not self._health.down
        rest = [record for key, record in after.items() if key not in mine] if leaderless else []
        if in_charge or told or rest:
            self._deliver(told, rest)

    def _in_charge(self) -> bool:
        """Whether all that fires is this replica's to tell: it leads, or led last and the database is away."""
        return self._loaded and (self._memory.leads() or self._health.down)

    def _patient(self, limits: Limits) -> Limits:
        """A standby waits twice as long before it cries that the database is away: the last leader goes first."""
        if self._memory.facts().owns_missed_slots:
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

    def _keep(
        self, before: Mapping[AlertKey, AlertRecord], after: Mapping[AlertKey, AlertRecord], *, in_charge: bool
    ) -> None:
        """Note what changed until it is stored; without being in charge only what is this replica's own."""
        for key in before.keys() | after.keys():
            record = after.get(key)
            if record == before.get(key):
                continue
            if in_charge or (record is not None and self._own(key, record)):
                self._unsaved[key] = record
            else:
                self._unsaved.pop(key, None)

    def _own(self, key: AlertKey, record: AlertRecord) -> bool:
        """Whether this replica raised it, or raises it now, without the lead."""
        known = self._unsaved.get(key)
        if known is not None and known.active_at == record.active_at:
            return True
        facts = self._memory.facts()
        refused = facts.leaderless_since is not None and facts.election_problem is not None
        raises = record.alert in WITHOUT_LEAD or (refused and record.alert is Alert.CONTRACT_BROKEN)
        return raises and record.state is not AlertState.RESOLVED

    def _save(self) -> None:
        if not self._unsaved or self._health.down or not self._memory.leads():
            return
        changed = [record for record in self._unsaved.values() if record is not None]
        removed = [key for key, record in self._unsaved.items() if record is None]
        try:
            self._store.save(changed, removed)
        except DatabaseFault as fault:
            self._health.failed(fault)
        else:
            self._unsaved.clear()

    def _deliver(self, told: Sequence[AlertRecord], rest: Sequence[AlertRecord]) -> None:
        """Hand over what to tell and what to hold back: all but the database's absence where that fires."""
        away = [record for record in told if record.alert is Alert.DATABASE_UNAVAILABLE]
        if any(record.state is AlertState.FIRING for record in away):
            told, rest = away, [*rest, *(record for record in told if record not in away)]
        self._notifier.alerts(told, inhibited=rest)

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

    def tell_of_staleness(self) -> None:
        """Log each view that went stale since the last call."""
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
        if self._memory.leads() or self._in_charge() or facts.leaderless_since is not None:
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


def _problems(facts: Facts, status_misses: int) -> tuple[str, ...]:
    found = list(facts.contract_problems)
    if facts.delta is not None:
        found.extend(facts.delta.problems)
    if facts.status is not None and facts.status.problem and status_misses > STATUS_MISSES_TOLERATED:
        found.append(facts.status.problem)
    return tuple(found)
