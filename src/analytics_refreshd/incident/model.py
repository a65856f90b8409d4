"""The parts of an incident's review.

Times are aware UTC datetimes as logged. `_seconds` are floats. None means "not in the log"; nothing is guessed. The
parts grow while lines are folded, up to a limit. A count says how much was beyond it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from analytics_refreshd.incident.asked import Asked

LIMIT = 50
"""At most this many blockers, views, alerts, receivers and changes of leader are kept for one incident."""


@dataclass(slots=True)
class ErrorSeen:
    """One error as a line has it."""

    at: datetime
    event: str
    run_id: str | None
    view: str | None
    reason: str | None
    sqlstate: str | None
    error: str | None


@dataclass(slots=True)
class DistinctError:
    """A distinct SQLSTATE and text, with its views and count.

    `times` counts runs, and each line without a run.
    """

    sqlstate: str | None
    error: str | None
    reason: str | None
    views: list[str]
    first_at: datetime
    last_at: datetime
    times: int = 0


@dataclass(slots=True)
class BlockerSeen:
    """A session that blocked a refresh, by its pid.

    `waited_seconds` is the longest wait that was logged.
    """

    pid: int | None
    application: str | None
    user: str | None
    state: str | None
    transaction_started_at: datetime | None
    visible: bool | None
    views: list[str]
    first_at: datetime
    last_at: datetime
    waited_seconds: float | None
    times: int = 1


@dataclass(slots=True)
class StaleSeen:
    """How long a view was stale within the incident.

    It can be stale several times; `stale_seconds` is their sum. `since_at` is its last success plus its limit, on the
    database server's clock; None if no success was known. `told_at` is the time of the first line about it. `until_at`
    is None while it stays stale. `oldest_seconds` is the greatest age that people saw.
    """

    view: str
    told_at: datetime
    since_at: datetime | None
    max_age_seconds: float | None
    until_at: datetime | None = None
    stale_seconds: float = 0.0
    oldest_seconds: float | None = None
    times: int = 1
    last_success_at: datetime | None = None
    open_since: datetime | None = None
    """Since when it is stale now: last success plus limit, or the line's time if no success is known."""

    def open(self, at: datetime, since: datetime | None, last_success: datetime | None) -> None:
        """Record that the view became stale."""
        self.until_at = None
        self.open_since = since or at
        self.last_success_at = last_success

    def close(self, at: datetime) -> None:
        """Record that the view was refreshed."""
        self.still_open(at)
        self.until_at = at

    def still_open(self, at: datetime) -> None:
        """Add the time up to `at`, if the view is stale."""
        if self.open_since is None:
            return
        self.stale_seconds += max(0.0, (at - self.open_since).total_seconds())
        if self.last_success_at is not None:
            age = (at - self.last_success_at).total_seconds()
            self.oldest_seconds = max(age, self.oldest_seconds or 0.0)
        self.open_since = None


@dataclass(slots=True)
class AwaySeen:
    """For how long the database was away for one replica.

    It can be away several times within an incident; the figures are sums. `missed_slots` is from `database.restored`,
    None if there is no such line. `seconds` is from there too, or the time until a successful run.
    """

    replica: str
    from_at: datetime | None
    until_at: datetime | None = None
    seconds: float = 0.0
    missed_slots: int | None = None
    times: int = 1
    open_since: datetime | None = None


@dataclass(slots=True)
class PauseSeen:
    """A pause of refreshes, from its first line on.

    `until_at` is its planned end, `ended_at` its actual end. `ended_at` is None if it continues when the log ends.
    """

    from_at: datetime
    until_at: datetime | None
    reason_text: str | None
    created_by: str | None
    ended_at: datetime | None = None

    @property
    def unnamed(self) -> bool:
        """Return whether only skipped slots show the pause."""
        return self.until_at is None and self.reason_text is None and self.created_by is None

    def same_as(self, other: "PauseSeen") -> bool:
        """Return whether the same person paused for the same reason."""
        return (self.reason_text, self.created_by) == (other.reason_text, other.created_by)


@dataclass(frozen=True, slots=True)
class Crash:
    """A daemon's start although its predecessor had not stopped.

    The predecessor was killed or crashed after its last line, at `last_at`. `last_pid` is None if its start is not in
    the log, `stopping_at` if it had not begun to stop. The new daemon started at `started_at`.
    """

    replica: str
    started_at: datetime
    pid: int | None
    last_at: datetime
    last_pid: int | None
    stopping_at: datetime | None


@dataclass(slots=True)
class DeliverySeen:
    """A delivery that a receiver accepted."""

    receiver: str | None
    host: str | None
    status: str | None
    at: datetime
    tries: int | None


@dataclass(slots=True)
class DeliveryFailed:
    """A delivery that failed.

    `at` is the first failure; `failures` is how many in a row the last line counted.
    """

    receiver: str | None
    host: str | None
    at: datetime
    error: str | None
    failures: int | None


@dataclass(slots=True)
class AlertSeen:
    """One alert from firing to resolved, with its deliveries."""

    alert: str
    view: str | None
    severity: str | None
    active_at: datetime | None
    fired_at: datetime | None
    resolved_at: datetime | None = None
    summary: str | None = None
    deliveries: list[DeliverySeen] = field(default_factory=list)
    failed_deliveries: list[DeliveryFailed] = field(default_factory=list)


@dataclass(slots=True)
class LeaderChange:
    """A replica began or ceased to lead."""

    at: datetime
    replica: str
    event: str
    epoch: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class FailedRequests:
    """Requests that the API answered with 500 or above, counted."""

    count: int
    codes: Mapping[str, int]
    endpoints: Mapping[str, int]
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident of one database.

    `fold` says when it begins and ends. `ended_at` is None if it is not over when the log ends. `duration_seconds` then
    counts up to the log's last line. `runs` counts logged runs by outcome, including the one that recovered. `skipped`
    counts slots by reason. `missed_slots` are those without a refresh while the database was away, as
    `database.restored` counts them. `errors_beyond` counts errors that are not among `errors`. `paused_seconds` is how
    long refreshes were paused within it, `asked` what operators asked for meanwhile. `missing` says what the log lacks.
    """

    database: str
    started_at: datetime
    ended_at: datetime | None
    duration_seconds: float
    began_with: str
    last_ok_before_at: datetime | None
    parts: int
    views: tuple[str, ...]
    runs: Mapping[str, int]
    skipped: Mapping[str, int]
    missed_slots: int | None
    reasons: Mapping[str, int]
    first_error: ErrorSeen | None
    first_sqlstate: ErrorSeen | None
    errors: tuple[DistinctError, ...]
    errors_beyond: int
    blockers: tuple[BlockerSeen, ...]
    retries: int
    leader_changes: int
    leaders: tuple[LeaderChange, ...]
    crash_count: int
    crashes: tuple[Crash, ...]
    away: tuple[AwaySeen, ...]
    stale: tuple[StaleSeen, ...]
    pauses: tuple[PauseSeen, ...]
    paused_seconds: float
    asked: tuple[Asked, ...]
    alerts: tuple[AlertSeen, ...]
    detected_after_seconds: float | None
    delivered_after_seconds: float | None
    recovered_after_seconds: float | None
    failed_requests: FailedRequests | None
    other_events: Mapping[str, int]
    lost_lines: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatabaseLog:
    """What the log contains, and lacks, about one database.

    `interval_source` is `daemon.started`, `slots` (the smallest distance between two slots) or `default`.
    """

    database: str
    first_at: datetime
    last_at: datetime
    replicas: tuple[str, ...]
    events: int
    runs: Mapping[str, int]
    interval_seconds: float
    interval_source: str
    lost_lines: int
    incidents: tuple[Incident, ...]
    alerts_outside: tuple[AlertSeen, ...]
    crashes_outside: tuple[Crash, ...]
    missing: tuple[str, ...]
