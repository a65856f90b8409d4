"""The values that the daemon reasons about. `_at` is an aware UTC datetime, `_seconds` a float."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.delta import Delta as Delta

VIEWS = (
    "action_metrics_hourly",
    "trigger_performance_summary",
    "recent_failures",
    "action_type_distribution",
)
"""The contract's four materialized views, in the order in which the contract names them."""


class Outcome(StrEnum):
    """How a run ended."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why a run or view failed, or why a slot was skipped. A closed list: it labels metrics."""

    ABANDONED = "abandoned"
    CANCELLED = "cancelled"
    CONN_LOST = "conn_lost"
    CONNECT = "connect"
    CONTRACT = "contract"
    DATA = "data"
    DEADLOCK = "deadlock"
    DISK_FULL = "disk_full"
    DUPLICATE_ROWS = "duplicate_rows"
    DUPLICATED = "duplicated"
    INTERNAL = "internal"
    LOCK_TIMEOUT = "lock_timeout"
    MISSING = "missing"
    NOT_LEADER = "not_leader"
    NOT_POPULATED = "not_populated"
    NOT_PRIMARY = "not_primary"
    NO_UNIQUE_INDEX = "no_unique_index"
    OTHER = "other"
    OUT_OF_RESOURCES = "out_of_resources"
    OVERLAP = "overlap"
    PAUSED = "paused"
    PERMISSION = "permission"
    ROLLED_BACK = "rolled_back"
    SERIALIZATION = "serialization"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    UNDEFINED = "undefined"


class Origin(StrEnum):
    """Who asked for a run."""

    SCHEDULE = "schedule"
    COMMAND = "command"


class Role(StrEnum):
    """What this replica is at the moment."""

    STARTING = "starting"
    STANDBY = "standby"
    LEADER = "leader"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class ViewReport:
    """One row as the refresh function returned it. Anything may be missing or absurd.

    `measured_seconds` is set where the daemon refreshed this view alone and timed it itself. `fresh_seconds` says, from
    the call's begin, to which moment at most the view's content goes; None where only the lock watch can tell.
    `rows_changed` counts rows deleted from the view and inserted into it. `cost` is unknown where views share a call.
    `began_seconds`, from the call's begin too, says when a view in a transaction of its own began.
    """

    view: str | None
    reported_seconds: float | None
    rows: int | None
    success: bool | None
    error: str | None = None
    sqlstate: str | None = None
    reason: Reason | None = None
    measured_seconds: float | None = None
    fresh_seconds: float | None = None
    rows_changed: int | None = None
    cost: Cost | None = None
    began_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Blocker:
    """The session that a refresh waits on. Never its query text."""

    pid: int
    user: str | None
    application: str | None
    state: str | None
    query_started_at: datetime | None
    transaction_started_at: datetime | None
    wait_event: str | None
    visible: bool = True
    """False where this role may not see other sessions (it lacks pg_read_all_stats)."""


@dataclass(frozen=True, slots=True)
class LockSample:
    """What the lock watch saw at one moment. `at_seconds` counts from the run's begin."""

    at_seconds: float
    held: frozenset[str]
    waiting: frozenset[str] = frozenset()
    blocker: Blocker | None = None


@dataclass(frozen=True, slots=True)
class ViewResult:
    """What a run did to one view, as the daemon evaluated it.

    `duration_seconds` is the true one; `reported_seconds` what the function said, `observed_seconds` what the
    lock watch saw. `rows` is None after a failure: a failed view is not an empty one. `finished_at` is when its own
    refresh ended, at the earliest; None after a failure, and where history was read. `rows_changed` and `cost` are
    those of `ViewReport`.
    """

    view: str
    success: bool
    reason: Reason | None = None
    sqlstate: str | None = None
    error: str | None = None
    rows: int | None = None
    duration_seconds: float | None = None
    reported_seconds: float | None = None
    observed_seconds: float | None = None
    finished_at: datetime | None = None
    rows_changed: int | None = None
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One call of the refresh function, or a slot that was skipped.

    `outcome` is None while the run is under way. `clock` says whose clock dated it: "server", or "daemon" for a
    run that could not be written when it happened: by the server's time as the daemon reckoned it. `rows_folded`
    counts the changes that its fold took. `cost` is its last attempt's, without a rebuild before that.
    """

    run_id: UUID
    origin: Origin
    started_at: datetime
    scheduled_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    sqlstate: str | None = None
    error: str | None = None
    duration_seconds: float | None = None
    lateness_seconds: float | None = None
    attempts: int = 1
    replica: str = ""
    leader_epoch: int | None = None
    isolation: str = "cycle"
    clock: str = "server"
    views: tuple[ViewResult, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    rows_folded: int | None = None
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """One view as the database describes it: the status function's row, and what it can be checked against.

    `recorded_at` is the last success in our own table or history; `vacuumed_at` holds the view's VACUUM and
    ANALYZE times, which an older install's status function passes off as refresh times. `exists` is False where the
    database has no view of this name.
    """

    view: str
    rows: int | None = None
    size_bytes: int | None = None
    claimed_at: datetime | None = None
    recorded_at: datetime | None = None
    vacuumed_at: tuple[datetime, ...] = ()
    exists: bool = True


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """One reading of the status function, at the server's time. `problem` says why it could not be called.

    `blocked` says for which lock it waited instead. `unread` says why our own records could not be read beside it.
    `server` is where the connection leads: host, port, database.
    """

    server_now: datetime
    views: tuple[ViewStatus, ...]
    problem: str | None = None
    blocked: str | None = None
    unread: str | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """The 24 hours' figures; None where nothing ran. `latency_problem` says why the p95 is unknown, with a remedy."""

    executions: int
    success_rate_percent: float | None
    latency_p95_seconds: float | None
    latency_executions: int = 0
    latency_problem: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Refreshes are suspended until `ends_at`."""

    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class LeaderInfo:
    """The replica that holds the leader lock, as seen in pg_locks."""

    replica: str
    pid: int
    since: datetime | None = None
    ours: bool = True
    """False where the lock's holder is not one of our daemons."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The run under way: which view it works on, for how long, and whom it waits for."""

    run_id: UUID
    started_at: datetime
    elapsed_seconds: float
    view: str | None = None
    view_seconds: float | None = None
    blocker: Blocker | None = None
    waiting_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Every threshold the alert rules compare with; exported as `analytics_threshold{name,view}`.

    `view_interval_seconds` and `view_stale_for_seconds` are of views with an interval of their own. Where there are
    any, `shortest_interval_seconds` is from one slot of any view to the next.
    """

    interval_seconds: float = 300.0
    view_interval_seconds: Mapping[str, float] = field(default_factory=dict)
    view_stale_for_seconds: Mapping[str, float] = field(default_factory=dict)
    shortest_interval_seconds: float | None = None
    max_age_seconds: Mapping[str, float] = field(default_factory=dict)
    critical_age_seconds: Mapping[str, float] = field(default_factory=dict)
    stale_for_seconds: float = 0.0
    slow_seconds: float = 5.0
    slow_after_runs: int = 2
    failed_after_runs: int = 2
    resolve_after_runs: int = 2
    success_rate_min_percent: float = 90.0
    latency_p95_max_seconds: float = 1.0
    min_executions: int = 20
    trigger_success_rate_min_percent: float | None = None
    trigger_min_executions: int = 20
    database_unavailable_for_seconds: float = 120.0
    history_failing_for_seconds: float = 900.0
    no_leader_for_seconds: float = 600.0
    evaluate_seconds: float = 30.0
    retention_overdue_seconds: float | None = None
    warehouse_behind_seconds: float | None = None
    disk_bytes: int | None = None
    disk_full_within_seconds: float = 1_209_600.0
