"""An alert's life as pure transitions: inactive, pending, firing, resolved.

The rules (`rules`) say which conditions hold at a moment; this module says what follows from a condition
for an alert's record. A condition that cannot be evaluated (`holds` None) changes nothing: without data an alert is
neither fired nor resolved.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from analytics_refreshd.core.wording import seconds_in_words


class Alert(StrEnum):
    """Every alert that the daemon itself can raise."""

    VIEW_STALE = "AnalyticsViewStale"
    REFRESH_SLOW = "AnalyticsRefreshSlow"
    REFRESH_FAILED = "AnalyticsRefreshFailed"
    TARGET_UNMEETABLE = "AnalyticsTargetUnmeetable"
    LOW_SUCCESS_RATE = "AnalyticsLowSuccessRate"
    HIGH_LATENCY = "AnalyticsHighLatency"
    DATABASE_UNAVAILABLE = "AnalyticsDatabaseUnavailable"
    DATABASE_DISK_FULL = "AnalyticsDatabaseDiskFull"
    DISK_FILLING = "AnalyticsDiskFilling"
    CONTRACT_BROKEN = "AnalyticsContractBroken"
    HISTORY_FAILING = "AnalyticsHistoryFailing"
    NO_LEADER = "AnalyticsNoLeader"
    EVALUATION_STUCK = "AnalyticsEvaluationStuck"
    RETENTION_OVERDUE = "AnalyticsRetentionOverdue"
    UNUSUAL = "AnalyticsUnusual"
    TRIGGER_FAILING = "AnalyticsTriggerFailing"
    WAREHOUSE_BEHIND = "AnalyticsWarehouseBehind"


AlertKey = tuple[Alert, str]
"""An alert and its view or trigger, "" for the whole database: at most one record each."""


WITHOUT_LEAD = frozenset({Alert.DATABASE_UNAVAILABLE, Alert.NO_LEADER})
"""What each replica finds out and tells by itself, since just then nobody can be known to lead."""


class AlertState(StrEnum):
    """Where an alert stands. Inactive alerts have no record."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How urgent: `critical` wakes somebody, `warning` waits for the morning, `info` asks nobody to act."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Condition:
    """What a rule found for one alert on one view. "" stands for the whole database.

    `holds` None: it cannot be evaluated now. `for_seconds`: how long it must hold before it fires, counted from
    `since` where the rule knows better than the moment of the first look.
    """

    alert: Alert
    view: str
    holds: bool | None
    severity: Severity = Severity.WARNING
    summary: str = ""
    description: str = ""
    for_seconds: float = 0.0
    since: datetime | None = None
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One alert's record, which survives restarts and changes of leader.

    `active_at` is the `started_at` of the delivery key.
    """

    alert: Alert
    view: str
    state: AlertState
    severity: Severity
    active_at: datetime
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    summary: str = ""
    description: str = ""
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The record after a condition (None: inactive), and what changed, for the log and the receivers."""

    record: AlertRecord | None
    became: AlertState | None = None


def step(record: AlertRecord | None, condition: Condition, now: datetime) -> Step:
    """Advance one alert by one evaluation of its condition.

    A pending alert whose condition ends vanishes without a word; a firing one resolves. A resolved record stays until
    the condition holds again, so that the resolution can be delivered again; the new episode begins after the old one,
    since receivers tell episodes apart by `active_at`. While an alert fires its severity may rise and never falls: a
    receiver that groups by severity would see one alert end and another begin.
    """
    open_record = record if record and record.state is not AlertState.RESOLVED else None
    if condition.holds is None:
        return Step(record)
    if not condition.holds:
        if open_record is None:
            return Step(record)
        if open_record.state is AlertState.PENDING:
            return Step(None)
        return Step(resolved(open_record, now), AlertState.RESOLVED)
    active_at = open_record.active_at if open_record else _began(record, condition, now)
    if open_record is not None and open_record.state is AlertState.PENDING:
        # the rule may know a later begin by now
        active_at = max(active_at, min(condition.since or active_at, now))
    due = now >= active_at + timedelta(seconds=condition.for_seconds)
    fired_at = open_record.fired_at if open_record else None
    if fired_at is None and due:
        fired_at = now
    state = AlertState.FIRING if fired_at is not None else AlertState.PENDING
    severity = condition.severity
    if open_record is not None and open_record.state is AlertState.FIRING and severity is Severity.WARNING:
        severity = open_record.severity
    updated = AlertRecord(
        condition.alert,
        condition.view,
        state,
        severity,
        active_at,
        fired_at,
        None,
        condition.summary,
        condition.description,
        condition.run_id,
    )
    became = state if open_record is None or open_record.state is not state else None
    return Step(updated, became)


def escalated(before: AlertRecord | None, after: AlertRecord | None) -> bool:
    """Tell whether an alert that fired already has become critical."""
    return (
        before is not None
        and after is not None
        and before.state is after.state is AlertState.FIRING
        and before.severity is Severity.WARNING
        and after.severity is Severity.CRITICAL
    )


def resolved(record: AlertRecord, now: datetime) -> AlertRecord:
    """Resolve an alert, never before it fired. Its text says so too, because a phone may hide the status."""
    now = max(now, record.fired_at or record.active_at)
    lasted = seconds_in_words((now - record.active_at).total_seconds())
    return replace(
        record,
        state=AlertState.RESOLVED,
        resolved_at=now,
        summary=f"resolved after {lasted}; it was: {record.summary}",
        description=f"Over since {now:%H:%M:%S} UTC. Before: {record.description.partition(' Next: ')[0]}",
    )


def fires_in_seconds(record: AlertRecord | None, condition: Condition, now: datetime) -> float | None:
    """Return how long until a pending alert fires. None where none will."""
    if record is None or record.state is not AlertState.PENDING or not condition.holds:
        return None
    return (record.active_at - now).total_seconds() + condition.for_seconds


def _began(resolved: AlertRecord | None, condition: Condition, now: datetime) -> datetime:
    began = min(condition.since or now, now)
    if resolved is None:
        return began
    if resolved.resolved_at is not None:
        began = min(max(began, resolved.resolved_at), now)
    return began if began != resolved.active_at else began + timedelta(microseconds=1)


def unfinished(
    unsaved: Mapping[AlertKey, AlertRecord | None], stored: Mapping[AlertKey, AlertRecord]
) -> dict[AlertKey, AlertRecord | None]:
    """Select what a replica must still tell of once another one leads: what no store holds.

    `unsaved` is what it could not store, None for a removal. A stored episode is the leader's to end; one that no
    other replica knows would never be resolved where it was told. Other changes are void: the leader evaluates again.
    """
    return {
        key: record
        for key, record in unsaved.items()
        if record is not None
        and (record.alert in WITHOUT_LEAD or record.fired_at is not None)
        and (key not in stored or stored[key].active_at != record.active_at)
    }
