"""The catalogue of metrics: every name, type, help and label, once.

A counter is counted by its entry, `metrics.count(RUN_RETRIES)`. A gauge is read from the state at scrape, unless an
event sets it. The guide to the metrics is generated from this module.
"""

from analytics_refreshd.core.cost_metrics import COST_METRICS
from analytics_refreshd.core.guards import GUARDS
from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.model import Outcome, Reason
from analytics_refreshd.core.otel_metrics import OTEL_METRICS
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.requests import RequestKind, RequestOutcome
from analytics_refreshd.core.unusual_metrics import UNUSUAL_METRICS
from analytics_refreshd.core.warehouse_metrics import WAREHOUSE_METRICS

OTHER = "other"
"""The label value for a name that nobody configured."""
_RUN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240)
_QUERY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SKIPS = (Reason.CONNECT, Reason.OVERLAP, Reason.PAUSED)
_VIEW_FAILURES = tuple(reason for reason in Reason if reason not in (Reason.NOT_LEADER, Reason.OVERLAP, Reason.PAUSED))


VIEW_AGE = Metric(
    "analytics_view_age_minutes",
    "gauge",
    "Minutes since the view's last successful refresh, computed at scrape; absent where no success is known.",
    labels=("view",),
    read_at="scrape",
)
VIEW_LAST_SUCCESS = Metric(
    "analytics_view_last_success_timestamp_seconds",
    "gauge",
    "Unix time of the view's last successful refresh, on the database server's clock; absent where unknown.",
    labels=("view",),
    read_at="scrape",
)
REFRESH_DURATION = Metric(
    "analytics_refresh_duration_seconds",
    "gauge",
    "Duration of the view's last refresh, measured by the daemon where the function's own figure cannot be right.",
    labels=("view",),
    read_at="scrape",
)
REFRESH_DURATIONS = Metric(
    "analytics_refresh_run_duration_seconds",
    "histogram",
    "Durations of the view's refreshes since this process started.",
    labels=("view",),
    buckets=_RUN_BUCKETS,
)
QUERY_DURATION = Metric(
    "analytics_query_duration_seconds",
    "gauge",
    "Duration of the last probe of a catalogue query; absent where that had no answer.",
    labels=("endpoint",),
)
QUERY_DURATIONS = Metric(
    "analytics_query_run_duration_seconds",
    "histogram",
    "Durations of the probes of a catalogue query.",
    labels=("endpoint",),
    buckets=_QUERY_BUCKETS,
)
SUCCESS_RATE = Metric(
    "analytics_success_rate_percent",
    "gauge",
    "Successful executions of all executions in the last 24 hours, retrying ones included, from 0 to 100; "
    "absent where nothing ran.",
    read_at="scrape",
)
LATENCY_P95 = Metric(
    "analytics_latency_p95_seconds",
    "gauge",
    "95th percentile of execution durations over the last 24 hours, exact; absent where nothing ran, and where the "
    "rows cannot be read within 2 s.",
    read_at="scrape",
)
EXECUTIONS = Metric(
    "analytics_executions",
    "gauge",
    "Executions of actions in the last 24 hours.",
    read_at="scrape",
)
VIEW_ROWS = Metric(
    "analytics_view_rows",
    "gauge",
    "Rows in the view.",
    labels=("view",),
    read_at="scrape",
)
VIEW_SIZE = Metric(
    "analytics_view_size_bytes",
    "gauge",
    "Size of the view on disk, indexes included.",
    labels=("view",),
    read_at="scrape",
)
VIEW_REFRESH_SUCCESS = Metric(
    "analytics_view_refresh_success",
    "gauge",
    "1 where the view's last refresh succeeded, 0 where it failed.",
    labels=("view",),
    read_at="scrape",
)
REFRESHES = Metric(
    "analytics_refreshes_total", "counter", "Refreshes of the view, whatever their end.", labels=("view",)
)
REFRESH_FAILURES = Metric(
    "analytics_refresh_failures_total",
    "counter",
    "Failed refreshes of the view, by reason.",
    labels=("view", "reason"),
    known={"reason": _VIEW_FAILURES},
)
RUNS = Metric(
    "analytics_runs_total", "counter", "Runs, by outcome.", labels=("outcome",), known={"outcome": tuple(Outcome)}
)
RUNS_SKIPPED = Metric(
    "analytics_runs_skipped_total",
    "counter",
    "Slots in which no run was made, by reason.",
    labels=("reason",),
    known={"reason": _SKIPS},
)
RUN_RETRIES = Metric("analytics_run_retries_total", "counter", "Attempts repeated within a run.")
CYCLE_DURATIONS = Metric(
    "analytics_cycle_duration_seconds",
    "histogram",
    "Durations of whole cycles, bookkeeping included.",
    buckets=_RUN_BUCKETS,
)
RUN_LATENESS = Metric(
    "analytics_run_lateness_seconds", "gauge", "How long after its slot the last scheduled run started."
)
NEXT_RUN = Metric(
    "analytics_next_run_timestamp_seconds",
    "gauge",
    "Unix time of the next slot.",
    read_at="scrape",
)
LAST_EVALUATION = Metric(
    "analytics_last_evaluation_timestamp_seconds",
    "gauge",
    "Unix time at which ages and alerts were last evaluated.",
    read_at="scrape",
)
EVALUATION_SILENT = Metric(
    "analytics_evaluation_silent_seconds",
    "gauge",
    "Seconds since an evaluation last ended, whether or not the database answered.",
    read_at="scrape",
)
THRESHOLD = Metric(
    "analytics_threshold",
    "gauge",
    "The limits that alerts compare with, as configured; view is empty where a limit is not a view's.",
    labels=("name", "view"),
    read_at="scrape",
)
ALERTS_FIRING = Metric(
    "analytics_alerts_firing",
    "gauge",
    "1 while the daemon's own alert fires, else 0; view is empty for alerts on the whole database.",
    labels=("alert", "view"),
    read_at="scrape",
)
ALERT_DELIVERIES = Metric(
    "analytics_alert_deliveries_total", "counter", "Alert messages that a receiver accepted.", labels=("receiver",)
)
ALERT_DELIVERY_FAILURES = Metric(
    "analytics_alert_delivery_failures_total",
    "counter",
    "Alert messages given up, refused or dropped.",
    labels=("receiver",),
)
LEADER = Metric(
    "analytics_leader",
    "gauge",
    "1 on the replica that refreshes, 0 on standbys.",
    read_at="scrape",
)
DATABASE_UP = Metric(
    "analytics_database_up",
    "gauge",
    "1 while the database answers this replica.",
    read_at="scrape",
)
DATABASE_CONNECTIONS = Metric(
    "analytics_database_connections", "gauge", "Connections that this replica holds to the database.", read_at="scrape"
)
DATABASE_RECONNECTS = Metric(
    "analytics_database_reconnects_total",
    "counter",
    "Connections to the database made again after one was lost.",
)
HISTORY_WRITE_FAILURES = Metric(
    "analytics_history_write_failures_total",
    "counter",
    "Failed writes to history.",
)
HISTORY_PENDING = Metric(
    "analytics_history_pending", "gauge", "Runs that wait in memory to be written to history.", read_at="scrape"
)
CLOCK_STEPS = Metric(
    "analytics_clock_steps_total",
    "counter",
    "Jumps of the wall clock against the monotonic one.",
)
CLOCK_SKEW = Metric(
    "analytics_clock_skew_total",
    "counter",
    "Evaluations that met a refresh dated in the future, by the database server's clock.",
)
CONFIG_LAST_RELOAD_SUCCESS = Metric(
    "analytics_config_last_reload_success",
    "gauge",
    "1 where the configuration last read is in force, 0 where it was refused and the old one stays.",
)
PAUSED = Metric(
    "analytics_paused",
    "gauge",
    "1 while refreshes are suspended.",
    read_at="scrape",
)
DELTA_ROWS = Metric(
    "analytics_delta_rows",
    "gauge",
    "Incremental mode: rows captured and not yet folded into the rollups; absent in plain mode.",
    read_at="scrape",
)
FOLD = Metric(
    "analytics_fold_seconds",
    "gauge",
    "Incremental mode: duration of the last fold, which comes before the views' refresh; absent in plain mode.",
    read_at="scrape",
)
VERIFY_LAST = Metric(
    "analytics_verify_last_timestamp_seconds",
    "gauge",
    "Unix time at which the rollups were last compared with the plain definitions; absent in plain mode.",
    read_at="scrape",
)
VERIFY_LAST_DIFFERENCES = Metric(
    "analytics_verify_last_differences",
    "gauge",
    "Rows that differed then, 0 where the rollups are exact; absent in plain mode and before the first comparison.",
    read_at="scrape",
)
FROZEN_UNTIL = Metric(
    "analytics_frozen_until_timestamp_seconds", "gauge", "Unix time of the horizon.", read_at="scrape"
)
LATE_ROWS = Metric("analytics_late_rows_total", "counter", "Rows that came before the horizon.", read_at="scrape")
RETENTION_LAST = Metric(
    "analytics_retention_last_success_timestamp_seconds",
    "gauge",
    "Unix time at which a run of `retain` last deleted all that it should; absent before the first.",
    read_at="scrape",
)
OPERATOR_REQUESTS = Metric(
    "analytics_operator_requests_total",
    "counter",
    "Requests of operators over the API that ended, by kind and outcome; expired: no leader took them in time.",
    labels=("kind", "outcome"),
    known={"kind": tuple(RequestKind), "outcome": tuple(RequestOutcome)},
)
GUARD_TRIPS = Metric(
    "analytics_guard_trips_total",
    "counter",
    "Successful refreshes that look wrong: rows collapsed, or time exploded.",
    labels=("guard", "view"),
    known={"guard": GUARDS},
)
PART_FAILURES = Metric(
    "analytics_part_failures_total",
    "counter",
    "Failures of a part of an evaluation, or of a run's end, while the database answered; the other parts went on.",
    labels=("part",),
    known={"part": tuple(Part)},
)
LOG_LINES_LOST = Metric(
    "analytics_log_lines_lost_total", "counter", "Log lines that could not be written.", read_at="scrape"
)
BUILD_INFO = Metric(
    "analytics_build_info",
    "gauge",
    "1; the version is in the label.",
    labels=("version",),
)

METRICS: tuple[Metric, ...] = (
    *(value for value in globals().values() if isinstance(value, Metric)),
    *COST_METRICS,
    *UNUSUAL_METRICS,
    *OTEL_METRICS,
    *WAREHOUSE_METRICS,
)
"""Every metric, in the order above."""
