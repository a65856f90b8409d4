"""Build an incident from its lines, with bounded memory."""

from collections import Counter
from datetime import datetime
from typing import TypeVar

from analytics_refreshd.core.errors import UNREACHABLE
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Reason
from analytics_refreshd.incident.asked import Asked
from analytics_refreshd.incident.errors import Errors
from analytics_refreshd.incident.fields import Fields, count_of, moment_of, number_of, text_of
from analytics_refreshd.incident.model import (
    LIMIT,
    AlertSeen,
    AwaySeen,
    BlockerSeen,
    Crash,
    Incident,
    LeaderChange,
    PauseSeen,
    StaleSeen,
)
from analytics_refreshd.incident.requests import Requests

_Seen = TypeVar("_Seen")
_LOCKED = frozenset({Reason.LOCK_TIMEOUT.value, Reason.TIMEOUT.value})


class PendingObservations:
    """Collect what was seen since the last run ended.

    It belongs to an incident only if the next run fails.
    """

    def __init__(self) -> None:
        self.retries = 0
        self.blockers: list[BlockerSeen] = []
        self.leaders: list[LeaderChange] = []
        self.leader_changes = 0
        self.crashes: list[Crash] = []
        self.crash_count = 0
        self.errors = Errors()
        self.requests = Requests()

    @property
    def any(self) -> bool:
        """Return whether anything was recorded."""
        seen = self.retries or self.blockers or self.leader_changes or self.crash_count or self.errors.first
        return bool(seen or self.requests.found)

    def blocked(self, at: datetime, fields: Fields) -> None:
        """Record a session that blocked a refresh."""
        pid, view = count_of(fields, "blocker_pid"), text_of(fields, "view")
        waited = number_of(fields, "waited_seconds")
        for known in self.blockers:
            if known.pid == pid:
                known.last_at, known.times = at, known.times + 1
                known.waited_seconds = max((w for w in (known.waited_seconds, waited) if w is not None), default=None)
                if view and view not in known.views and len(known.views) < LIMIT:
                    known.views.append(view)
                return
        if len(self.blockers) < LIMIT:
            visible = fields.get("blocker_visible")
            self.blockers.append(
                BlockerSeen(
                    pid,
                    text_of(fields, "blocker_application"),
                    text_of(fields, "blocker_user"),
                    text_of(fields, "blocker_state"),
                    moment_of(fields, "blocker_transaction_started_at"),
                    visible if isinstance(visible, bool) else None,
                    [view] if view else [],
                    at,
                    at,
                    waited,
                )
            )

    def crash(self, crash: Crash) -> None:
        """Record a daemon that was killed or crashed."""
        self.crash_count += 1
        if len(self.crashes) < LIMIT:
            self.crashes.append(crash)

    def take_crashes(self, later: "PendingObservations") -> None:
        """Add the crashes that were recorded after these."""
        self.crash_count += later.crash_count
        self.crashes = (self.crashes + later.crashes)[:LIMIT]

    def leader(self, at: datetime, replica: str, fields: Fields) -> None:
        """Record a change of leader."""
        self.leader_changes += 1
        event = text_of(fields, "event") or ""
        if len(self.leaders) < LIMIT:
            change = LeaderChange(at, replica, event, count_of(fields, "epoch"), text_of(fields, "reason"))
            self.leaders.append(change)


class IncidentBuilder(PendingObservations):
    """Build one incident, line by line."""

    def __init__(self, started_at: datetime, began_with: str, last_ok_at: datetime | None) -> None:
        super().__init__()
        self.started_at = started_at
        self.began_with = began_with
        self.last_ok_at = last_ok_at
        self.ended_at: datetime | None = None
        self.parts = 1
        self.views: list[str] = []
        self.runs: Counter[str] = Counter()
        self.runs_since: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.away: dict[str, AwaySeen] = {}
        self.stale: dict[str, StaleSeen] = {}
        self.pauses: list[PauseSeen] = []
        self.asked: list[Asked] = []
        self.alerts: list[AlertSeen] = []
        self.other_events: Counter[str] = Counter()
        self.leaderless = False
        self.lost_lines = 0
        self.beyond = 0
        self.gaps: list[str] = []

    def take(self, pending: PendingObservations) -> None:
        """Add what was seen since the previous run."""
        self.retries += pending.retries
        self.leader_changes += pending.leader_changes
        self.leaders = (self.leaders + pending.leaders)[:LIMIT]
        self.take_crashes(pending)
        known = {blocker.pid for blocker in self.blockers}
        self.blockers = (self.blockers + [item for item in pending.blockers if item.pid not in known])[:LIMIT]
        self.errors.take(pending.errors)
        self.requests.take(pending.requests)

    def run(self, outcome: str, count: int = 1) -> None:
        """Count a run. One after the end counts only if the incident continues."""
        (self.runs if self.ended_at is None else self.runs_since)[outcome] += count

    def begun_by(self, run_at: datetime | None, began_with: str) -> None:
        """Let the incident begin with a run's own line.

        Nothing changes if it began with anything but the run's `view.failed`.
        """
        if self.began_with == Event.VIEW_FAILED.value and not self.runs:
            self.began_with = began_with
            self.started_at = min(self.started_at, run_at or self.started_at)

    def go_on(self) -> None:
        """Continue the incident: the outage returned soon."""
        self.ended_at = None
        self.parts += 1
        self.runs.update(self.runs_since)
        self.runs_since.clear()

    def touch(self, view: str) -> None:
        """Record that a view was affected."""
        if view not in self.views:
            self._keep(self.views, view)

    def pause(self, pause: PauseSeen | None) -> None:
        """Record a pause that may overlap the incident; `build` decides."""
        if pause is not None and all(known is not pause for known in self.pauses):
            self._keep(self.pauses, pause)

    def attach(self, alert: AlertSeen) -> None:
        """Add an alert of this incident."""
        self._keep(self.alerts, alert)

    def ask(self, asked: Asked) -> None:
        """Add what an operator asked for."""
        self._keep(self.asked, asked)

    def _keep(self, kept: list[_Seen], item: _Seen) -> None:
        if len(kept) < LIMIT:
            kept.append(item)
        else:
            self.beyond += 1

    def add_gap(self, text: str) -> None:
        """Record something that the log lacks."""
        if text not in self.gaps and len(self.gaps) < LIMIT:
            self.gaps.append(text)

    def build(self, database: str, last_at: datetime, *, delivers: bool) -> Incident:
        """Return the incident up to `last_at`, the end of the log.

        `delivers` says whether the log contains any delivery of an alert.
        """
        for stale in self.stale.values():
            stale.still_open(max(last_at, stale.told_at))
        until = self.ended_at or max(last_at, self.started_at)
        # an alert that fired before the start, and its repeats, belong to something else
        new = [(alert.fired_at or self.started_at, alert) for alert in self.alerts]
        new = [(fired_at, alert) for fired_at, alert in new if fired_at >= self.started_at]
        fired = [alert.fired_at for _, alert in new if alert.fired_at is not None]
        told = [
            item.at
            for fired_at, alert in new
            for item in alert.deliveries
            if item.status == "firing" and item.at >= fired_at
        ]
        pauses = [pause for pause in self.pauses if pause.from_at <= until]
        paused = [min(pause.ended_at or until, until) - max(pause.from_at, self.started_at) for pause in pauses]
        missed = [away.missed_slots for away in self.away.values() if away.missed_slots is not None]
        return Incident(
            database=database,
            started_at=self.started_at,
            ended_at=self.ended_at,
            duration_seconds=(until - self.started_at).total_seconds(),
            began_with=self.began_with,
            last_ok_before_at=self.last_ok_at,
            parts=self.parts,
            views=tuple(self.views),
            runs=dict(self.runs),
            skipped=dict(self.skipped),
            missed_slots=sum(missed) if missed else None,
            reasons=dict(self.reasons),
            first_error=self.errors.first,
            first_sqlstate=self.errors.first_sqlstate,
            errors=self.errors.distinct,
            errors_beyond=self.errors.beyond,
            blockers=tuple(self.blockers),
            retries=self.retries,
            leader_changes=self.leader_changes,
            leaders=tuple(self.leaders),
            crash_count=self.crash_count,
            crashes=tuple(self.crashes),
            away=tuple(self.away.values()),
            stale=tuple(self.stale.values()),
            pauses=tuple(pauses),
            paused_seconds=sum((max(0.0, length.total_seconds()) for length in paused), 0.0),
            asked=tuple(self.asked),
            alerts=tuple(self.alerts),
            detected_after_seconds=self._after(min(fired, default=None)),
            delivered_after_seconds=self._after(min(told, default=None)),
            recovered_after_seconds=self._after(self.ended_at),
            failed_requests=self.requests.found,
            other_events=dict(self.other_events),
            lost_lines=self.lost_lines,
            missing=(*self.gaps, *self._missing(missed, detected=bool(fired or told), delivers=delivers)),
        )

    def _after(self, at: datetime | None) -> float | None:
        return None if at is None else max(0.0, (at - self.started_at).total_seconds())

    def _missing(self, missed: list[int], *, detected: bool, delivers: bool) -> list[str]:
        said = []
        if self.last_ok_at is None:
            said.append("the start: no successful run comes before it in the log, so it may have begun earlier")
        if self.ended_at is None:
            said.append("the end: the log ends before everything was ok again")
        if self.errors.first is None:
            said.append("the error: no line tells one")
        elif self.errors.first_sqlstate is None:
            said.append("an SQLSTATE: no error in the log has one")
        if not self.blockers and _LOCKED & set(self.reasons):
            said.append("a blocker: a run timed out, and no view.blocked line names a session")
        said.extend(self._missing_slots(missed))
        said.extend(
            f"since when {stale.view} was stale: no success of it was known; counted from its first line"
            for stale in self.stale.values()
            if stale.since_at is None
        )
        if not self.alerts:
            said.append(
                "detection: the daemon raised no alert in this log; alerts that Prometheus raised are not in it"
            )
        elif not detected:
            said.append("detection: no alert of this incident fired after its start")
        said.extend(text for alert in self.alerts for text in _missing_of(alert, delivers=delivers))
        if self.lost_lines:
            said.append(f"{self.lost_lines} lines that the daemon could not write")
        if self.beyond:
            said.append(f"{self.beyond} mentions of further views, pauses and alerts beyond the first {LIMIT}")
        return said

    def _missing_slots(self, missed: list[int]) -> list[str]:
        logged = sum(self.reasons[reason] for reason in UNREACHABLE) + sum(
            self.skipped[reason] for reason in UNREACHABLE
        )
        if missed and sum(missed) > logged:
            return [f"{sum(missed) - logged} of {sum(missed)} missed slots: the daemon counts them, not logging each"]
        if any(away.missed_slots is None for away in self.away.values()):
            return [
                "how many slots were missed: the daemon logs every twelfth, and no database.restored line counts them"
            ]
        return []


def _missing_of(alert: AlertSeen, *, delivers: bool) -> list[str]:
    name = f"{alert.alert} of {alert.view}" if alert.view else alert.alert
    said = []
    if alert.resolved_at is None:
        said.append(f"the resolution of {name}")
    if not alert.deliveries and not alert.failed_deliveries:
        why = "" if delivers else ", nor of any other alert: perhaps the daemon has no receiver"
        said.append(f"the delivery of {name}{why}")
    return said
