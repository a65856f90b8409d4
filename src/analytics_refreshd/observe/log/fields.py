"""The fields of every log event: source of the JSON Schema and of the guide's tables."""

from collections.abc import Mapping
from typing import Any

from analytics_refreshd.core.alerts.lifecycle import Alert, Severity
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Outcome, Reason
from analytics_refreshd.observe.log.api_fields import API_FIELDS
from analytics_refreshd.observe.log.field import ERROR, SQLSTATE, STOPPED, Field
from analytics_refreshd.observe.log.warehouse_fields import WAREHOUSE_FIELDS

TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": ["string", "null"]},
    "texts": {"type": "array", "items": {"type": "string"}},
    "number": {"type": ["number", "null"]},
    "count": {"type": ["integer", "null"]},
    "yes/no": {"type": ["boolean", "null"]},
    "time": {"type": ["string", "null"], "format": "date-time"},
    "uuid": {"type": ["string", "null"], "format": "uuid"},
    "object": {"type": ["object", "null"]},
    "outcome": {"enum": [*Outcome, None]},
    "reason": {"enum": [*Reason, None]},
    "alert": {"enum": [*Alert, None]},
    "severity": {"enum": [*Severity, None]},
}
"""The JSON Schema of each kind of field."""


RUN_ID = Field("run_id", "uuid", "the run, as in history")
VIEW = Field("view", "text", "the view")
REASON = Field("reason", "reason", "why, from a closed list")
SCHEDULED = Field("scheduled_at", "time", "the slot; null for a run that a person asked for")

COMMON = (
    Field("timestamp", "time", "when the line was written, in UTC with milliseconds"),
    Field("level", "text", "`debug`, `info`, `warning` or `error`"),
    Field("event", "text", "one of the events below"),
    Field("database", "text", "the `[service] name`"),
    Field("replica", "text", "the replica that speaks"),
    Field("lost_lines", "count", "lines lost before this one because the log could not be written; absent where none"),
    Field("trace_id", "text", "the trace of the run or request, where `[otel]` sends traces"),
    Field("span_id", "text", "the span within it"),
    Field("omitted", "texts", "fields left out because the line would have passed 16 kB; absent where none"),
)
"""What any line can carry; the first five are on every line, in this order, then `run_id` where there is one."""

EXCEPTION = Field(
    "exception",
    "exception",
    "the exception behind it, then its causes: type, redacted message, frames without variables",
)
_COST = (
    Field("wal_bytes", "count", "written to the WAL; each figure of a cost is absent where unknown"),
    Field("blocks_hit", "count", "found in PostgreSQL's buffers"),
    Field("blocks_read", "count", "read into them"),
    Field("temporary_bytes", "count", "written to temporary files and tables"),
)
VIEW_FIELDS = (
    VIEW,
    Field("success", "yes/no", "whether it was refreshed"),
    Field("seconds", "number", "its duration, as measured by the daemon where the function's figure cannot be right"),
    Field("rows", "count", "rows afterwards; null after a failure"),
    REASON,
    SQLSTATE,
    ERROR,
    Field("reported_seconds", "number", "the function's figure where it is a second or more from the truth"),
    Field("rows_changed", "count", "rows that were deleted from it and inserted; absent where unknown"),
    *_COST,
)
"""One entry of `views` in `refresh.finished`; reason, sqlstate and error are there after a failure only."""
SUMMARY_FIELDS = (
    VIEW,
    Field("runs", "count", "refreshes that are counted"),
    Field("seconds", "number", "the slowest of them"),
    Field("run_id", "uuid", "the run of that one"),
    Field("rows", "count", "rows after the last one"),
    Field("last_success_at", "time", "when the last one ended"),
)
"""One entry of `views` in `refresh.summary`."""

_ALERT = (
    Field("alert", "alert", "the alert's name"),
    Field("view", "text", "its view; null for the whole database"),
    Field("severity", "severity", "how urgent"),
    Field("active_at", "time", "since when the condition holds"),
    Field("fired_at", "time", "since when it fires"),
    Field("resolved_at", "time", "when it ended"),
    Field("summary", "text", "one sentence"),
    Field("description", "text", "what is known, and the next command to type"),
    RUN_ID,
)
_DELIVERY = (
    Field("receiver", "text", "its name in the configuration"),
    Field("host", "text", "where it is, without path or secret"),
    Field("alert", "alert", "the alert's name, the first one of several in a message"),
    Field("view", "text", "its view"),
    Field("key", "text", "stable over repeats of this alert: database, alert, view, started_at"),
    Field("tries", "count", "attempts made"),
)
_OPERATOR_REQUEST = (
    Field("request_id", "uuid", "the request, as the API names it"),
    Field("kind", "text", "`refresh`, `pause` or `resume`"),
    Field("actor", "text", "who asked: the id of a key, or `user:` and a user"),
    Field("reason_text", "text", "the reason that was given"),
    RUN_ID,
)
_CONFIG = Field("config", "object", "every setting in force, without secrets")
_SIGNAL = Field("signal", "text", "`metrics` or `traces`")
_EPOCH = Field("epoch", "count", "the term as leader; later ones are greater")

FIELDS: Mapping[Event, tuple[Field, ...]] = {
    **API_FIELDS,
    **WAREHOUSE_FIELDS,
    Event.ALERT_DELIVERED: (
        *_DELIVERY,
        Field("status", "text", "`firing` or `resolved`"),
        Field("severity", "severity", "how urgent"),
    ),
    Event.ALERT_DELIVERY_FAILED: (
        *_DELIVERY,
        Field("phase", "text", "of a heartbeat: `start`, `success` or `fail`"),
        ERROR,
        Field("failures", "count", "messages given up since the last success; one line tells of many"),
    ),
    Event.ALERT_ESCALATED: _ALERT,
    Event.ALERT_FIRING: _ALERT,
    Event.ALERT_PENDING: _ALERT,
    Event.ALERT_RESOLVED: _ALERT,
    Event.CLOCK_STEP: (
        Field("step_seconds", "number", "how far the wall clock jumped; negative is back"),
        Field("suspended", "yes/no", "whether the process itself was stopped meanwhile"),
    ),
    Event.CONFIG_LOADED: (_CONFIG, Field("warnings", "texts", "what is allowed and yet doubtful")),
    Event.CONFIG_RELOADED: (
        _CONFIG,
        Field("needs_restart", "texts", "changed settings that take effect at the next start only"),
    ),
    Event.CONFIG_RELOAD_FAILED: (Field("problems", "texts", "why it was refused, all at once"),),
    Event.DAEMON_STARTED: (
        Field("version", "text", "of the daemon"),
        Field("pid", "count", "the process"),
        Field("http", "text", "where metrics, probes and page are"),
        Field("interval_seconds", "number", "between two slots"),
    ),
    Event.DAEMON_STOPPED: STOPPED,
    Event.DAEMON_STOPPING: (
        Field("signal", "text", "the signal's name; null where none asked for it"),
        Field("running", "yes/no", "whether a refresh is being cancelled"),
        Field("reason", "text", "why without a signal: an internal failure, or the cycles asked for are done"),
    ),
    Event.DATABASE_LOST: (REASON, SQLSTATE, ERROR),
    Event.DATABASE_RESTORED: (
        Field("seconds", "number", "that it was away"),
        Field("missed_slots", "count", "slots without a refresh meanwhile"),
    ),
    Event.ELECTION_BLOCKED: (
        Field("holder", "text", "the holder's application name"),
        Field("holder_pid", "count", "its backend's pid"),
        Field("since", "time", "since when its session is there"),
    ),
    Event.GUARD_TRIPPED: (
        Field("guard", "text", "`rows_collapsed` or `slow_beside_itself`"),
        VIEW,
        Field("usual", "number", "rows or seconds before"),
        Field("now", "number", "rows or seconds this time"),
        RUN_ID,
    ),
    Event.HISTORY_PENDING: (
        Field("pending", "count", "runs waiting in memory; 0 when all have been written"),
        Field("run_id", "uuid", "the run that the database refused alone; absent where all wait"),
        Field("lost", "count", "runs dropped because too many waited, or the database refused them"),
        Field("seconds", "number", "that history could not be written"),
        SQLSTATE,
        ERROR,
    ),
    Event.LEADER_ACQUIRED: (_EPOCH,),
    Event.LEADER_LOST: (_EPOCH, Field("reason", "text", "why, in words")),
    Event.LIBRARY_MESSAGE: (
        Field("library", "text", "the library's logger"),
        Field("message", "text", "what it said, redacted"),
        EXCEPTION,
    ),
    Event.OPERATOR_REQUEST_ENDED: (
        *_OPERATOR_REQUEST,
        Field("outcome", "text", "as of a run; `ok` or `failed` of a pause and its end; `expired`: nobody took it"),
        Field("detail", "text", "why, where it is not ok"),
        Field("until", "time", "until when refreshes are paused since then"),
    ),
    Event.OPERATOR_REQUEST_TAKEN: (
        *_OPERATOR_REQUEST,
        Field("joined", "yes/no", "whether that run had begun before"),
    ),
    Event.OTEL_EXPORT_FAILED: (_SIGNAL, Field("host", "text", "where the collector is"), ERROR),
    Event.OTEL_EXPORT_RESTORED: (
        _SIGNAL,
        Field("failures", "count", "exports that it did not take"),
        Field("seconds", "number", "since the first of them"),
    ),
    Event.PART_FAILED: (
        Field("part", "text", "which, from a closed list"),
        SQLSTATE,
        ERROR,
        EXCEPTION,
    ),
    Event.REFRESH_FINISHED: (
        RUN_ID,
        Field("origin", "text", "`schedule` or `command`"),
        Field("outcome", "outcome", "how the run ended"),
        REASON,
        SQLSTATE,
        ERROR,
        SCHEDULED,
        Field("started_at", "time", "when the run began"),
        Field("duration_seconds", "number", "of the whole run"),
        Field("lateness_seconds", "number", "started_at less scheduled_at"),
        Field("attempts", "count", "tries within the run"),
        Field("isolation", "text", "`cycle` or `view`"),
        Field("views", "views", "every expected view, see below"),
        *_COST,
        Field("rows_folded", "count", "incremental mode: changes that the fold took"),
        Field("fold_seconds", "number", "incremental mode: the fold before the views; absent where there was none"),
        Field("rebuilt_seconds", "number", "incremental mode: the rebuild before that; absent where there was none"),
        Field("rebuild_reason", "text", "why the rollups were rebuilt, by the fold if rebuilt_seconds is absent"),
        Field("notices", "count", "notices of the server during the refresh; absent where there were none"),
        Field("notice_samples", "texts", "the first ten of them, redacted; absent where there were none"),
    ),
    Event.REFRESH_PAUSED: (
        Field("until", "time", "when refreshes resume by themselves"),
        Field("reason_text", "text", "the reason that was given"),
        Field("created_by", "text", "who paused"),
    ),
    Event.REFRESH_RESUMED: (),
    Event.REFRESH_RETRY: (
        RUN_ID,
        Field("attempt", "count", "the attempt that failed"),
        Field("wait_seconds", "number", "before the next one"),
        REASON,
        SQLSTATE,
        ERROR,
    ),
    Event.REFRESH_SKIPPED: (
        RUN_ID,
        REASON,
        SCHEDULED,
        Field("repeated", "count", "slots skipped in a row for this reason, not all of them logged"),
    ),
    Event.REFRESH_STARTED: (RUN_ID, SCHEDULED),
    Event.REFRESH_SUMMARY: (
        Field("since", "time", "when the first run began that `outcomes` counts"),
        Field("runs", "count", "runs without a line of level info; all are ok"),
        Field("outcomes", "object", "every run and skipped slot since then, by outcome"),
        Field("duration_seconds", "number", "the longest of `runs`"),
        Field("lateness_seconds", "number", "the latest of them"),
        Field("views", "summaries", "every view in them, see below"),
        Field("rows_folded", "count", "incremental mode: changes that their folds took"),
    ),
    Event.ROWS_LATE: (
        Field("rows", "count", "how many since the last such line, or the daemon's start"),
        Field("frozen_until", "time", "the horizon"),
    ),
    Event.SHUTDOWN_FORCED: (
        Field("still_running", "texts", "what had not ended; `cancel.timeout`: the server did not confirm the cancel"),
    ),
    Event.VIEW_BLOCKED: (
        VIEW,
        Field("waited_seconds", "number", "so far"),
        Field("blocker_pid", "count", "the session that holds the lock"),
        Field("blocker_user", "text", "its role"),
        Field("blocker_application", "text", "its application name"),
        Field("blocker_state", "text", "as in pg_stat_activity"),
        Field("blocker_query_started_at", "time", "when its last query began; never the query's text"),
        Field("blocker_transaction_started_at", "time", "when its transaction began"),
        Field("blocker_wait_event", "text", "what it waits for itself"),
        Field("blocker_visible", "yes/no", "false where this role lacks pg_read_all_stats, which shows the rest"),
        Field("text", "text", "all of it in one sentence"),
        RUN_ID,
    ),
    Event.VIEW_FAILED: (RUN_ID, VIEW, REASON, SQLSTATE, ERROR),
    Event.VIEW_STALE: (
        VIEW,
        Field("age_seconds", "number", "its age; null where no success is known"),
        Field("max_age_seconds", "number", "its limit"),
        Field("last_success_at", "time", "on the database server's clock"),
        Field("doubt", "text", "why the status function was not believed"),
    ),
}
