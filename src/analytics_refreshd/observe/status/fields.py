"""Every field of the status document: the one source of the document, its JSON Schema and its guide."""

from analytics_refreshd.core.alerts.lifecycle import AlertRecord, AlertState, Severity
from analytics_refreshd.core.delta import Delta
from analytics_refreshd.core.model import Blocker, LeaderInfo, Pause, Progress, Role
from analytics_refreshd.core.retention import End, LastRuns
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.spending import spending
from analytics_refreshd.core.state import Source, State
from analytics_refreshd.core.wording import blocked_by
from analytics_refreshd.observe.status.cost_fields import DISK_FIELDS, SPENDING_FIELDS
from analytics_refreshd.observe.status.field import (
    COUNT,
    FLAG,
    ID,
    LIST,
    OBJECT,
    PERCENT,
    SECONDS,
    TEXT,
    TEXTS,
    TIME,
    WORD,
    Field,
    choice,
    one_of,
)
from analytics_refreshd.observe.status.notices import Notice, headline, notices
from analytics_refreshd.observe.status.outlook_fields import OUTLOOK_FIELDS
from analytics_refreshd.observe.status.timeline import timeline
from analytics_refreshd.observe.status.timeline_fields import TIMELINE_FIELDS
from analytics_refreshd.observe.status.view_fields import VIEW_FIELDS
from analytics_refreshd.observe.status.warehouse_fields import WAREHOUSE_FIELDS, waiting

_NOTICE: tuple[Field[Notice], ...] = (
    Field("level", one_of("info", "warn", "bad"), "`info`: nothing to do; `bad`: act", lambda notice: notice.level),
    Field("text", TEXT, "a sentence", lambda notice: notice.text),
)

_LEADER: tuple[Field[LeaderInfo], ...] = (
    Field("replica", TEXT, "its name", lambda leader: leader.replica),
    Field("pid", COUNT, "its backend", lambda leader: leader.pid),
    Field("since", TIME, "when its session began", lambda leader: leader.since, nullable=True),
    Field("ours", FLAG, "false: the session is not one of our daemons", lambda leader: leader.ours),
)

_PAUSE: tuple[Field[Pause], ...] = (
    Field("starts_at", TIME, "its begin", lambda pause: pause.starts_at),
    Field("ends_at", TIME, "its end", lambda pause: pause.ends_at),
    Field("reason", TEXT, "as it was given", lambda pause: pause.reason),
    Field("created_by", TEXT, "the role that asked for it", lambda pause: pause.created_by, nullable=True),
)

_Waiting = tuple[Blocker, float | None]

_BLOCKER: tuple[Field[_Waiting], ...] = (
    Field("pid", COUNT, "its backend; 0 for a prepared transaction", lambda waiting: waiting[0].pid),
    Field("user", TEXT, "its role", lambda waiting: waiting[0].user, nullable=True),
    Field("application", TEXT, "its application_name", lambda waiting: waiting[0].application, nullable=True),
    Field("state", TEXT, "as in pg_stat_activity", lambda waiting: waiting[0].state, nullable=True),
    Field("query_started_at", TIME, "its query's begin", lambda waiting: waiting[0].query_started_at, nullable=True),
    Field(
        "transaction_started_at",
        TIME,
        "its transaction's begin",
        lambda waiting: waiting[0].transaction_started_at,
        nullable=True,
    ),
    Field("wait_event", TEXT, "what it waits for itself", lambda waiting: waiting[0].wait_event, nullable=True),
    Field("text", TEXT, "all of it in one line", lambda waiting: blocked_by(*waiting)),
)

_PROGRESS: tuple[Field[Progress], ...] = (
    Field("run_id", ID, "the run", lambda run: run.run_id),
    Field("started_at", TIME, "when it began", lambda run: run.started_at),
    Field("elapsed_seconds", SECONDS, "for how long it runs", lambda run: run.elapsed_seconds),
    Field("view", TEXT, "the view it works on", lambda run: run.view, nullable=True),
    Field("view_seconds", SECONDS, "for how long; the leader alone knows", lambda run: run.view_seconds, nullable=True),
    Field("waiting_seconds", SECONDS, "for how long it waits", lambda run: run.waiting_seconds, nullable=True),
    Field(
        "blocker",
        OBJECT,
        "the session that it waits for",
        lambda run: (run.blocker, run.waiting_seconds) if run.blocker is not None else None,
        nullable=True,
        fields=_BLOCKER,
    ),
)

_RATES: tuple[Field[State], ...] = (
    Field("executions", COUNT, "how many ran", lambda state: state.rates and state.rates.executions, nullable=True),
    Field(
        "success_rate_percent",
        PERCENT,
        "how many of them succeeded",
        lambda state: state.rates and state.rates.success_rate_percent,
        nullable=True,
    ),
    Field("success_rate_min_percent", PERCENT, "its limit", lambda state: state.limits.success_rate_min_percent),
    Field(
        "latency_p95_seconds",
        SECONDS,
        "the 95th percentile of their durations",
        lambda state: state.rates and state.rates.latency_p95_seconds,
        nullable=True,
    ),
    Field(
        "latency_problem",
        TEXT,
        "why the percentile is not known, and what to do",
        lambda state: state.rates and state.rates.latency_problem,
        nullable=True,
    ),
    Field("latency_p95_max_seconds", SECONDS, "its limit", lambda state: state.limits.latency_p95_max_seconds),
    Field("min_executions", COUNT, "with fewer, neither is evaluated", lambda state: state.limits.min_executions),
)

_ALERT: tuple[Field[AlertRecord], ...] = (
    Field("alert", WORD, "which", lambda record: record.alert),
    Field("view", TEXT, "its view; null: the whole database", lambda record: record.view or None, nullable=True),
    Field("state", choice(AlertState), "where it stands", lambda record: record.state),
    Field("severity", choice(Severity), "how urgent it is", lambda record: record.severity),
    Field("active_at", TIME, "since when its condition holds", lambda record: record.active_at),
    Field("fired_at", TIME, "when it fired", lambda record: record.fired_at, nullable=True),
    Field("resolved_at", TIME, "when it was over", lambda record: record.resolved_at, nullable=True),
    Field("summary", TEXT, "one line", lambda record: record.summary),
    Field("description", TEXT, "what happened, and the next command", lambda record: record.description),
    Field("run_id", ID, "the run that it is about", lambda record: record.run_id, nullable=True),
)

_RECEIVER: tuple[Field[tuple[str, str]], ...] = (
    Field("name", TEXT, "as configured", lambda item: item[0]),
    Field("state", TEXT, "its last delivery or failure", lambda item: item[1]),
)

_HISTORY: tuple[Field[State], ...] = (
    Field("available", FLAG, "whether runs are stored in the database", lambda state: state.history_available),
    Field(
        "pending",
        COUNT,
        "how many runs wait in memory to be stored",
        lambda state: state.history_pending,
        memory_only=True,
    ),
)

_DELTA: tuple[Field[Delta], ...] = (
    Field("mode", TEXT, "`plain` or `incremental`", lambda delta: delta.mode),
    Field("pending_rows", COUNT, "changes not folded yet", lambda delta: delta.pending_rows, nullable=True),
    Field("verified_at", TIME, "the last verification", lambda delta: delta.verified_at, nullable=True),
    Field("verified_ok", FLAG, "whether it found no difference", lambda delta: delta.verified_ok, nullable=True),
    Field("verified_differences", COUNT, "how many", lambda delta: delta.verified_differences, nullable=True),
    Field("fold_seconds", SECONDS, "the last fold's duration", lambda delta: delta.fold_seconds, nullable=True),
    Field("rebuild_reason", TEXT, "why the next refresh rebuilds", lambda delta: delta.rebuild_reason, nullable=True),
    Field("uncaptured", TEXTS, "tables not all of whose changes are captured", lambda delta: delta.uncaptured),
    Field("built", FLAG, "whether the rollups are built", lambda delta: delta.built, nullable=True),
    Field("problems", TEXTS, "what keeps the rollups from being exact", lambda delta: delta.problems),
    Field("frozen_until", TIME, "the horizon: figures before it stay", lambda delta: delta.frozen_until, nullable=True),
    Field(
        "late_rows", COUNT, "rows that came before it, or changed there", lambda delta: delta.late_rows, nullable=True
    ),
)

_RETENTION: tuple[Field[LastRuns], ...] = (
    Field("begun_at", TIME, "when the last run began", lambda runs: runs.begun_at, nullable=True),
    Field("ended_at", TIME, "when it ended", lambda runs: runs.ended_at, nullable=True),
    Field("outcome", choice(End), "how", lambda runs: runs.outcome, nullable=True),
    Field("reason", TEXT, "why it stopped or failed", lambda runs: runs.reason, nullable=True),
    Field("rows_deleted", COUNT, "rows that it deleted", lambda runs: runs.rows_deleted, nullable=True),
    Field("rows_left", COUNT, "older rows that stayed", lambda runs: runs.rows_left, nullable=True),
    Field("bound", TIME, "rows older than this may go", lambda runs: runs.bound, nullable=True),
    Field("ok_at", TIME, "when a run last ended well", lambda runs: runs.ok_at, nullable=True),
)

STATUS_FIELDS: tuple[Field[Snapshot], ...] = (
    Field(
        "source",
        choice(Source),
        "`memory`: by a daemon, of itself; `database`: by the command `status`, from the database alone",
        lambda now: now.state.source,
    ),
    Field("generated_at", TIME, "when this was made, by the clock of its program", lambda now: now.now),
    Field("server_now", TIME, "that moment by the database server's clock", lambda now: now.server_now),
    Field("database", TEXT, "the `[service] name`", lambda now: now.state.database),
    Field(
        "server",
        TEXT,
        "the database's name, host and port, as last connected",
        lambda now: now.state.status and now.state.status.server,
        nullable=True,
    ),
    Field("replica", TEXT, "this replica's name", lambda now: now.state.replica, memory_only=True),
    Field("version", TEXT, "the version of the program that made this", lambda now: now.state.version),
    Field("role", choice(Role), "what this replica is", lambda now: now.role, memory_only=True),
    Field("healthy", FLAG, "whether `status` exits with 0 for it", lambda now: now.healthy),
    Field("mode", TEXT, "`plain` or `incremental`", lambda now: now.state.mode),
    Field("isolation", TEXT, "`cycle` or `view`, as configured", lambda now: now.state.isolation),
    Field("headline", OBJECT, "the whole in one sentence", headline, fields=_NOTICE),
    Field("notices", LIST, "what is unusual, the worst first", notices, fields=_NOTICE),
    Field(
        "problem",
        TEXT,
        "why the status function cannot be used",
        lambda now: now.state.status and (now.state.status.problem or now.state.status.blocked),
        nullable=True,
    ),
    Field("interval_seconds", SECONDS, "the schedule's", lambda now: now.state.limits.interval_seconds),
    Field(
        "next_run_at",
        TIME,
        "by the replica's clock; none on one that is starting",
        lambda now: now.state.next_run_at,
        memory_only=True,
    ),
    Field(
        "evaluated_seconds_ago",
        SECONDS,
        "since ages and alerts were last read",
        lambda now: now.since_evaluation_seconds,
        nullable=True,
    ),
    Field("database_up", FLAG, "whether the database answers", lambda now: now.state.database_up),
    Field(
        "database_down_since",
        TIME,
        "if not, since when",
        lambda now: now.state.database_down_since,
        nullable=True,
    ),
    Field("database_error", TEXT, "and why", lambda now: now.state.database_error, nullable=True),
    Field(
        "leader",
        OBJECT,
        "who holds the leader lock, or held it when the database last answered",
        lambda now: now.state.leader,
        nullable=True,
        fields=_LEADER,
    ),
    Field("pause", OBJECT, "the pause in force", lambda now: now.pause, nullable=True, fields=_PAUSE),
    Field("progress", OBJECT, "the refresh under way", lambda now: now.state.progress, nullable=True, fields=_PROGRESS),
    Field("rates", OBJECT, "the actions of the last 24 hours", lambda now: now.state, fields=_RATES),
    Field("views", LIST, "the views, as configured", lambda now: now.views, fields=VIEW_FIELDS),
    Field(
        "alerts",
        LIST,
        "pending, firing and lately resolved alerts",
        lambda now: now.state.alerts.values(),
        fields=_ALERT,
    ),
    Field(
        "runbooks_url",
        TEXT,
        "where the alerts' runbooks are: a file each, `ALERT.md`",
        lambda now: now.state.runbooks_url or None,
        nullable=True,
    ),
    Field(
        "receivers",
        LIST,
        "the configured receivers; empty where the daemon delivers nothing itself",
        lambda now: None if now.state.delivery is None else now.state.delivery.items(),
        memory_only=True,
        fields=_RECEIVER,
    ),
    Field("cost", OBJECT, "what refreshes cost the server; null is unknown", spending, fields=SPENDING_FIELDS),
    Field(
        "disk", OBJECT, "the space that is left, if asked for", lambda now: now.disk, nullable=True, fields=DISK_FIELDS
    ),
    Field(
        "outlook",
        LIST,
        "when limits are reached if figures go on as they do; read once an hour",
        lambda now: now.outlooks,
        fields=OUTLOOK_FIELDS,
    ),
    Field("slots", OBJECT, "the last 24 hours", timeline, fields=TIMELINE_FIELDS),
    Field("history", OBJECT, "the store of past runs", lambda now: now.state, fields=_HISTORY),
    Field("delta", OBJECT, "the incremental mode's state", lambda now: now.state.delta, nullable=True, fields=_DELTA),
    Field(
        "retention", OBJECT, "the runs of `retain`", lambda now: now.state.retention, nullable=True, fields=_RETENTION
    ),
    Field("warehouse", OBJECT, "what waits for the warehouse", waiting, nullable=True, fields=WAREHOUSE_FIELDS),
)
