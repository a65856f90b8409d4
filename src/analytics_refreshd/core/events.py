"""The closed list of events that the daemon logs.

The guide to the log is generated from it.
"""

from enum import StrEnum


class Event(StrEnum):
    """Name the event in a log line; `MEANING` explains each."""

    ALERT_DELIVERED = "alert.delivered"
    ALERT_DELIVERY_FAILED = "alert.delivery_failed"
    ALERT_ESCALATED = "alert.escalated"
    ALERT_FIRING = "alert.firing"
    ALERT_PENDING = "alert.pending"
    ALERT_RESOLVED = "alert.resolved"
    API_STARTED = "api.started"
    API_STOPPED = "api.stopped"
    API_STOPPING = "api.stopping"
    CLOCK_STEP = "clock.step"
    CONFIG_LOADED = "config.loaded"
    CONFIG_RELOADED = "config.reloaded"
    CONFIG_RELOAD_FAILED = "config.reload_failed"
    DAEMON_STARTED = "daemon.started"
    DAEMON_STOPPED = "daemon.stopped"
    DAEMON_STOPPING = "daemon.stopping"
    DATABASE_LOST = "database.lost"
    DATABASE_RESTORED = "database.restored"
    ELECTION_BLOCKED = "election.blocked"
    GUARD_TRIPPED = "guard.tripped"
    HISTORY_PENDING = "history.pending"
    LEADER_ACQUIRED = "leader.acquired"
    LEADER_LOST = "leader.lost"
    LIBRARY_MESSAGE = "library.message"
    OPERATOR_REQUEST_ENDED = "operator.request_ended"
    OPERATOR_REQUEST_TAKEN = "operator.request_taken"
    OTEL_EXPORT_FAILED = "otel.export_failed"
    OTEL_EXPORT_RESTORED = "otel.export_restored"
    PART_FAILED = "part.failed"
    REFRESH_FINISHED = "refresh.finished"
    REFRESH_PAUSED = "refresh.paused"
    REFRESH_RESUMED = "refresh.resumed"
    REFRESH_RETRY = "refresh.retry"
    REFRESH_SKIPPED = "refresh.skipped"
    REFRESH_STARTED = "refresh.started"
    REFRESH_SUMMARY = "refresh.summary"
    REQUEST_FINISHED = "request.finished"
    ROWS_LATE = "rows.late"
    SHUTDOWN_FORCED = "shutdown.forced"
    STREAM_FINISHED = "stream.finished"
    VIEW_BLOCKED = "view.blocked"
    VIEW_FAILED = "view.failed"
    VIEW_STALE = "view.stale"
    WAREHOUSE_EXPORTED = "warehouse.exported"
    WAREHOUSE_LOADED = "warehouse.loaded"
    WAREHOUSE_RESTARTED = "warehouse.restarted"
    WAREHOUSE_SENT = "warehouse.sent"


MEANING: dict[Event, str] = {
    Event.ALERT_DELIVERED: "a receiver accepted an alert",
    Event.ALERT_DELIVERY_FAILED: "a receiver refused an alert, or all tries failed",
    Event.ALERT_ESCALATED: "a firing alert became critical",
    Event.ALERT_FIRING: "an alert's condition has held long enough: somebody should look",
    Event.ALERT_PENDING: "an alert's condition holds, but not yet for long enough",
    Event.ALERT_RESOLVED: "a firing alert's condition is over",
    Event.API_STARTED: "the API answers requests",
    Event.API_STOPPED: "the last line of the API's process, unless it was killed",
    Event.API_STOPPING: "a signal or an internal failure ends the API; requests under way are still answered",
    Event.CLOCK_STEP: "the wall clock jumped against the monotonic one; the schedule was recomputed",
    Event.CONFIG_LOADED: "the configuration in force at start, without secrets",
    Event.CONFIG_RELOADED: "SIGHUP: a new configuration is in force",
    Event.CONFIG_RELOAD_FAILED: "SIGHUP: the new configuration was refused, the old one stays in force",
    Event.DAEMON_STARTED: "the daemon serves HTTP and schedules",
    Event.DAEMON_STOPPED: "the last line of a daemon, unless it was killed",
    Event.DAEMON_STOPPING: "a signal or an internal failure ends the daemon; a running refresh is being cancelled",
    Event.DATABASE_LOST: "the database stopped answering",
    Event.DATABASE_RESTORED: "the database answers again; says how long it was away and how many slots were missed",
    Event.ELECTION_BLOCKED: "a session that is not one of our daemons holds the leader lock",
    Event.GUARD_TRIPPED: "a successful refresh looks wrong: its rows collapsed or its time exploded",
    Event.HISTORY_PENDING: "runs could not be written to history and wait in memory",
    Event.LEADER_ACQUIRED: "this replica refreshes from now on",
    Event.LEADER_LOST: "this replica no longer refreshes",
    Event.LIBRARY_MESSAGE: "an error that a library logged (its warnings: level debug), or one of the daemon itself",
    Event.OPERATOR_REQUEST_ENDED: "what an operator asked for over the API is done, failed, or expired: nobody took it",
    Event.OPERATOR_REQUEST_TAKEN: "a run refreshes for an operator's request, or one under way does",
    Event.OTEL_EXPORT_FAILED: "the collector did not take an export; what follows is only counted, until one is taken",
    Event.OTEL_EXPORT_RESTORED: "the collector takes exports again; says how many it did not",
    Event.PART_FAILED: "a part of an evaluation or of a run's end failed, the others went on; repeats are only counted",
    Event.REFRESH_FINISHED: (
        "the canonical line of a cycle: outcome, durations, rows and errors of every view (level debug where a"
        " `refresh.summary` counts it)"
    ),
    Event.REFRESH_PAUSED: "refreshes are suspended until the time given",
    Event.REFRESH_RESUMED: "refreshes are no longer suspended",
    Event.REFRESH_RETRY: "an attempt failed and will be repeated within the slot",
    Event.REFRESH_SKIPPED: "a slot passed without a refresh; repeats are counted, not logged each",
    Event.REFRESH_STARTED: "a run begins (level debug)",
    Event.REFRESH_SUMMARY: (
        "counts the runs that went as those before, where views have intervals of their own: every 15 minutes, before a"
        " run that is not ok, and at the end"
    ),
    Event.REQUEST_FINISHED: "the API answered a request (level debug, a failure and a slow one info)",
    Event.ROWS_LATE: "rows came before the frozen horizon, or were changed there",
    Event.SHUTDOWN_FORCED: "the stop's deadline passed before everything had ended",
    Event.STREAM_FINISHED: "a stream of the API ended (level debug; info where the client read too slowly)",
    Event.VIEW_BLOCKED: "a refresh waits for a lock; names the session that holds it",
    Event.VIEW_FAILED: "a view began to fail with this run; repeats are not logged",
    Event.VIEW_STALE: "a view became older than its limit",
    Event.WAREHOUSE_EXPORTED: "the warehouse holds all figures: the export of an epoch is complete",
    Event.WAREHOUSE_LOADED: "the warehouse holds the action rows of these months, as the cells are",
    Event.WAREHOUSE_RESTARTED: "warehouse and database have parted, and all figures are exported again; says why",
    Event.WAREHOUSE_SENT: "batches of changes were sent to the warehouse (level debug)",
}
