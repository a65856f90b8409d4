"""What an incident's review consists of.

Times are aware UTC datetimes as the log has them, `_seconds` floats; None is "not in the log", never a guess. The
parts grow while lines are folded and are bounded: where there is a limit, a count tells what lies beyond it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

LIMIT = 50
"""At most so many blockers, views, alerts, receivers, changes of leader are kept for one incident."""


@dataclass(slots=True)
class ErrorSeen:
    """One error as a line tells it."""

    at: datetime
    event: str
    run_id: str | None
    view: str | None
    reason: str | None
    sqlstate: str | None
    error: str | None


@dataclass(slots=True)
class DistinctError:
    """An SQLSTATE with its text: the views it was seen on, and in how many runs; each line without a run counts too."""

    sqlstate: str | None
    error: str | None
    reason: str | None
    views: list[str]
    first_at: datetime
    last_at: datetime
    times: int = 0


@dataclass(slots=True)
class BlockerSeen:
    """A session that held a refresh up, by its pid; `waited_seconds` is the longest wait that was logged."""

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
    """How long a view was stale: all its stretches within the incident together.

    `since_at` is its last success plus its limit, on the database server's clock; None where no success was known.
    `told_at` is the first line about it. `until_at` is None while it stays stale. `oldest_seconds` is its age at the
    end, the largest of the stretches: how old what people saw was.
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
    """Begin of the stretch under way: `since_at` of that stretch, or its line where that is not known."""

    def open(self, at: datetime, since: datetime | None, last_success: datetime | None) -> None:
        """A stretch begins."""
        self.until_at = None
        self.open_since = since or at
        self.last_success_at = last_success

    def close(self, at: datetime) -> None:
        """The stretch ends."""
        self.still_open(at)
        self.until_at = at

    def still_open(self, at: datetime) -> None:
        """Count the stretch under way, if there is one, up to `at`."""
        if self.open_since is None:
            return
        self.stale_seconds += max(0.0, (at - self.open_since).total_seconds())
        if self.last_success_at is not None:
            age = (at - self.last_success_at).total_seconds()
            self.oldest_seconds = max(age, self.oldest_seconds or 0.0)
        self.open_since = None


@dataclass(slots=True)
class AwaySeen:
    """The database as one replica missed it: all stretches within the incident together.

    `missed_slots` is what `database.restored` says, None while no such line was seen. `seconds` adds up what those
    lines say, or the time between two lines where a successful run ended the stretch.
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
    """Refreshes paused on purpose, from the first line that tells of it.

    `until_at` is when it was to end by itself, `ended_at` when it did; None where it lasts when the log ends.
    """

    from_at: datetime
    until_at: datetime | None
    reason_text: str | None
    created_by: str | None
    ended_at: datetime | None = None

    @property
    def unnamed(self) -> bool:
        """Whether it is known by its skipped slots alone."""
        return self.until_at is None and self.reason_text is None and self.created_by is None

    def same_as(self, other: "PauseSeen") -> bool:
        """Whether the same person paused for the same reason."""
        return (self.reason_text, self.created_by) == (other.reason_text, other.created_by)


@dataclass(frozen=True, slots=True)
class Crash:
    """A daemon that started, at `started_at`, though the one before it under its name had not stopped.

    That one was killed or crashed after its last line, at `last_at`; `last_pid` is None where its own start is not in
    the log, `stopping_at` where it had not begun to stop.
    """

    replica: str
    started_at: datetime
    pid: int | None
    last_at: datetime
    last_pid: int | None
    stopping_at: datetime | None


@dataclass(slots=True)
class DeliverySeen:
    """A receiver accepted an alert."""

    receiver: str | None
    host: str | None
    status: str | None
    at: datetime
    tries: int | None


@dataclass(slots=True)
class DeliveryFailed:
    """A receiver did not take an alert: its first failure, and how many in a row the last line told of."""

    receiver: str | None
    host: str | None
    at: datetime
    error: str | None
    failures: int | None


@dataclass(slots=True)
class AlertSeen:
    """One alert of the daemon from firing to resolved, with its deliveries. `fired_at` and `resolved_at` as logged."""

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
class Incident:
    """One stretch of trouble of one database; `fold` says what opens and closes it.

    `ended_at` None: not over when the log ends; `duration_seconds` then counts up to the log's last line. `runs` counts
    logged runs by outcome, the recovering one included; `skipped` slots by reason; `missed_slots` those without a
    refresh while the database was away, as `database.restored` counts them. `errors_beyond` counts sightings of errors
    that are not among `errors`. `paused_seconds` is for how much of it refreshes were paused. `missing` says what the
    log does not tell.
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
    alerts: tuple[AlertSeen, ...]
    detected_after_seconds: float | None
    delivered_after_seconds: float | None
    recovered_after_seconds: float | None
    other_events: Mapping[str, int]
    lost_lines: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatabaseLog:
    """What the log holds about one database, its incidents and what it does not hold.

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
