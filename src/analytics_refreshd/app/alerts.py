"""Evaluates the alert rules: stores what changed first, then logs it and hands it to the notifier.

The leader tells of everything, and so does the last one while the database is away. Another replica tells only that the
database is away, or that nobody leads: under a key of its own, whose end it tells whoever leads by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from analytics_refreshd.app.alert_log import log_change
from analytics_refreshd.app.parts import Parts
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.alerts.inhibition import with_inhibited
from analytics_refreshd.core.alerts.lifecycle import (
    WITHOUT_LEAD,
    Alert,
    AlertKey,
    AlertRecord,
    AlertState,
    escalated,
    fires_in_seconds,
    resolved,
    step,
    unfinished,
)
from analytics_refreshd.core.alerts.rules import conditions
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.ports import AlertStore, History, Notifier
from analytics_refreshd.core.retry import refuses_one_record, worth_waiting
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.staleness import max_age_seconds, verdict

_RESOLVED_KEPT = timedelta(minutes=15)


class AlertEvaluator:
    """The alerts of one database. One thread at a time may use it: the evaluation does.

    `on_lead_over` is called where the lock is found lost before the election knows it.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        store: AlertStore,
        history: History,
        notifier: Notifier,
        on_lead_over: Callable[[], None],
    ) -> None:
        self._store = store
        self._history = history
        self._notifier = notifier
        self._on_lead_over = on_lead_over
        self._state = runtime.state
        self._database = runtime.database
        self._log = runtime.log
        self._clock = runtime.clock
        self._parts = Parts(runtime)
        self._loaded = False
        self._unread_since: float | None = None
        self._unsaved: dict[AlertKey, AlertRecord | None] = {}
        self._held: dict[AlertKey, AlertRecord | None] = {}
        """The records before what was evaluated without being in charge: shown, and nobody's to tell of."""
        self._stale: frozenset[str] = frozenset()
        self.next_fires_in_seconds: float | None = None
        """How long until the next pending alert fires, by the last `evaluate`; None where none is pending."""
        delivery = notifier.status()
        self._state.change(lambda state: replace(state, delivery=delivery))

    def invalidate(self) -> None:
        """Load the records again: another replica may have changed them while this one did not lead."""
        self._loaded = False

    def load(self) -> None:
        """Load the alerts from the database: once as leader, every time as a standby, which shows them."""
        leads = self._state.leads()
        if self._loaded and leads:
            return
        # the lead was lost and nobody has taken it since: what this process knows is still the newest there is
        led_last = self._loaded and self._state.current.owns_missed_slots
        if not led_last:
            self._notifier.invalidate()
        stored: dict[AlertKey, AlertRecord] = {}
        try:
            stored = {(record.alert, record.view): record for record in self._store.load()}
        except Exception as error:
            if isinstance(error, DatabaseFault) and self._wait_for_store(error):
                raise
            self._parts.failed(Part.ALERT_STORE, error)
            records = dict(self._state.current.alerts)  # what this process knows is all there is
        else:
            self._unread_since = None
            records = dict(self._state.current.alerts)
            if stored or self._history.available:
                records = dict(stored)
                self._held.clear()
        if not leads and not led_last:
            self._unsaved = unfinished(self._unsaved, stored)
        for key, unsaved in self._unsaved.items():
            if unsaved is None:
                records.pop(key, None)
            else:
                records[key] = unsaved
        self._state.change(lambda state: replace(state, alerts=records))
        self._loaded = leads or led_last

    def _wait_for_store(self, fault: DatabaseFault) -> bool:
        now = self._clock.monotonic()
        if self._unread_since is None or fault.error_class.away:
            self._unread_since = now
        return worth_waiting(fault.error_class, waited_seconds=now - self._unread_since)

    def evaluate(self) -> None:
        """Evaluate every rule now. Store, log and deliver what follows."""
        delivery = self._notifier.status()
        # first, and whoever leads: without it a standby's page would say that there is no receiver
        self._state.change(lambda state: replace(state, delivery=delivery))
        snapshot = self._state.snapshot()
        if snapshot.leads and not self._loaded and not self._database.down:
            return  # what fires already is not known yet: evaluating now would raise it a second time
        shown, before = snapshot.state.alerts, self._confirmed(snapshot)
        after, changed = self._steps(snapshot, before)
        # beside them, what was raised from outside meanwhile
        self._state.change(
            lambda state: replace(state, alerts={k: r for k, r in state.alerts.items() if k not in shown} | after)
        )
        in_charge = self._in_charge() and not (after != before and self._lead_over())
        self._keep(before, after, in_charge=in_charge)
        mine = frozenset(after if in_charge else self._unsaved)
        # stored first: a restart between the two repeats nothing, and the notifier delivers what it has not yet. What
        # cannot be stored is told all the same
        self._save()
        for record in changed:
            if (record.alert, record.view) in mine:
                log_change(self._log, record, before.get((record.alert, record.view)))
        told = [record for key, record in after.items() if key in mine and record.state is not AlertState.PENDING]
        # without a leader this replica re-sends the leader's alerts too; otherwise an Alertmanager would expire them
        leaderless = snapshot.state.leaderless_since is not None and not self._database.down
        rest = [record for key, record in after.items() if key not in mine] if leaderless else []
        if in_charge or told or rest:
            away, held = with_inhibited(told, rest)
            self._parts.run(Part.DELIVERY, lambda: self._notifier.alerts(away, inhibited=held))

    def _confirmed(self, snapshot: Snapshot) -> dict[AlertKey, AlertRecord]:
        """Return the records without what this replica evaluated while it was not in charge."""
        records = {**snapshot.state.alerts, **self._held}
        return {key: record for key, record in records.items() if record is not None}

    def _steps(
        self, snapshot: Snapshot, before: Mapping[AlertKey, AlertRecord]
    ) -> tuple[dict[AlertKey, AlertRecord], list[AlertRecord]]:
        """Advance every alert by one step; return the records after it, and those that changed state or severity."""
        now = snapshot.server_now
        after: dict[AlertKey, AlertRecord] = {}
        changed: list[AlertRecord] = []
        waits: list[float] = []
        for condition in conditions(snapshot, lambda error: self._parts.failed(Part.ALERTS, error)):
            key = (condition.alert, condition.view)
            if self._handed_over(key, snapshot):
                condition = replace(condition, holds=False)
            taken = step(before.get(key), condition, now)
            if taken.record is not None:
                after[key] = taken.record
            worse = escalated(before.get(key), taken.record)
            if taken.record is not None and (taken.became is not None or worse):
                changed.append(taken.record)
            left = fires_in_seconds(taken.record, condition, now)
            if left is not None:
                waits.append(left)
        self.next_fires_in_seconds = min(waits, default=None)
        for key, record in before.items():
            if key in after or record.view in ("", *snapshot.state.views):
                continue
            # a view that left the configuration resolves what it raised, and that is delivered like any resolution
            if record.state is AlertState.FIRING:
                after[key] = resolved(record, now)
                changed.append(after[key])
            elif record.state is AlertState.RESOLVED:
                after[key] = record
        kept = {
            key: record
            for key, record in after.items()
            if record.resolved_at is None or now - record.resolved_at < _RESOLVED_KEPT
        }
        return kept, changed

    def _handed_over(self, key: AlertKey, snapshot: Snapshot) -> bool:
        """Tell whether this replica told of an alert that nobody stores, and another one leads now.

        The new leader evaluates from what it sees itself, and cannot end what it does not know.
        """
        state = snapshot.state
        followed = not (snapshot.leads or state.owns_missed_slots or state.database_down)
        return followed and key in self._unsaved and key[0] not in WITHOUT_LEAD and not self._history.available

    def _in_charge(self) -> bool:
        """Tell whether all that fires is this replica's to tell of: it leads, or led last and the database is away."""
        return self._loaded and (self._state.leads() or self._database.down)

    def _lead_over(self) -> bool:
        """Tell whether the lock is lost, and have the election ask for it at once.

        Another may have led since: both would tell of one trouble, under two keys, and nobody would end one of them.
        Until the election knows, the page shows what no log has: that must not last until its next heartbeat.
        """
        epoch = self._state.current.leadership.epoch
        if epoch is None or self._database.down or not self._state.leads():
            return False
        try:
            over = self._store.lead_over(epoch)
        except Exception as error:
            self._parts.failed(Part.ALERT_STORE, error)
            return False
        if over:
            self._on_lead_over()
        return over

    def _keep(
        self, before: Mapping[AlertKey, AlertRecord], after: Mapping[AlertKey, AlertRecord], *, in_charge: bool
    ) -> None:
        """Keep what changed until it is stored; a replica not in charge keeps only its own, and holds the rest."""
        if in_charge:
            self._held.clear()
        for key in before.keys() | after.keys():
            record = after.get(key)
            if record == before.get(key):
                continue
            if in_charge or (record is not None and self._own(key, record)):
                self._unsaved[key] = record
                self._held.pop(key, None)
            else:
                self._unsaved.pop(key, None)
                self._held.setdefault(key, before.get(key))

    def _own(self, key: AlertKey, record: AlertRecord) -> bool:
        """Tell whether this replica raised it, or raises it now, without the lead."""
        known = self._unsaved.get(key)
        if known is not None and known.active_at == record.active_at:
            return True
        state = self._state.current
        refused = state.leaderless_since is not None and state.election_problem is not None
        raises = record.alert in WITHOUT_LEAD or (refused and record.alert is Alert.CONTRACT_BROKEN)
        return raises and record.state is not AlertState.RESOLVED

    def _save(self) -> None:
        if not self._unsaved or self._database.down or not self._state.leads():
            return
        error = self._store_all(dict(self._unsaved))
        # one record that the store refuses must not keep the others out of it
        for key, record in list(self._unsaved.items()):
            if error is not None and not refuses_one_record(error):
                return
            error = self._store_all({key: record}) or error
        if error is None:
            self._parts.succeeded(Part.ALERT_STORE)

    def _store_all(self, records: Mapping[AlertKey, AlertRecord | None]) -> Exception | None:
        """Write or delete the records in one transaction. Returns why that failed."""
        changed = [record for record in records.values() if record is not None]
        removed = [key for key, record in records.items() if record is None]
        try:
            self._store.save(changed, removed)
        except Exception as error:
            self._parts.failed(Part.ALERT_STORE, error)
            return error
        for key, record in records.items():
            # without our schema nothing was stored: what this replica told stays its own to end
            if self._history.available or record is None or record.fired_at is None:
                self._unsaved.pop(key, None)
        return None

    def log_stale_views(self) -> None:
        """Log each view that went stale since the last call."""
        snapshot = self._state.snapshot()
        state = snapshot.state
        ages = {view: age for view in state.views if (age := snapshot.age(view)) is not None}
        stale = frozenset(view for view, age in ages.items() if verdict(age, state.limits).is_stale)
        if snapshot.leads or self._in_charge() or state.leaderless_since is not None:
            for view in sorted(stale - self._stale):
                age = ages[view]
                self._log.emit(
                    Event.VIEW_STALE,
                    level="warning",
                    view=view,
                    age_seconds=round(age.seconds, 3) if age.seconds is not None else None,
                    max_age_seconds=max_age_seconds(state.limits, view),
                    last_success_at=age.last_success_at,
                    doubt=age.doubt,
                )
        self._stale = stale
