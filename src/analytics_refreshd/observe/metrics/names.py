"""Every metric the daemon exports. The guide to the metrics is generated from it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Described:
    """One metric family. `leader_only`: a standby exports no series of it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    leader_only: bool = False


METRICS = (
    Described(
        "analytics_view_age_minutes",
        "gauge",
        ("view",),
        "Minutes since the view's last successful refresh, computed at scrape; absent where no success is known.",
        leader_only=True,
    ),
    Described(
        "analytics_view_last_success_timestamp_seconds",
        "gauge",
        ("view",),
        "Unix time of the view's last successful refresh, on the database server's clock; absent where unknown.",
        leader_only=True,
    ),
    Described(
        "analytics_refresh_duration_seconds",
        "gauge",
        ("view",),
        "Duration of the view's last refresh, measured by the daemon where the function's own figure cannot be right.",
        leader_only=True,
    ),
    Described(
        "analytics_refresh_run_duration_seconds",
        "histogram",
        ("view",),
        "Durations of the view's refreshes since this process started.",
    ),
    Described(
        "analytics_query_duration_seconds",
        "gauge",
        ("endpoint",),
        "Duration of the last probe of a catalogue query; absent where that had no answer.",
    ),
    Described(
        "analytics_query_run_duration_seconds",
        "histogram",
        ("endpoint",),
        "Durations of the probes of a catalogue query.",
    ),
    Described(
        "analytics_success_rate_percent",
        "gauge",
        (),
        "Successful executions of all executions in the last 24 hours, retrying ones included, from 0 to 100; "
        "absent where nothing ran.",
    ),
    Described(
        "analytics_latency_p95_seconds",
        "gauge",
        (),
        "95th percentile of execution durations over 24 hours: the mean of hourly percentiles weighted by executions, "
        "which is an approximation, or exact where the incremental mode's histograms can be read; absent where nothing "
        "ran.",
    ),
    Described("analytics_executions", "gauge", (), "Executions of actions in the last 24 hours."),
    Described(
        "analytics_view_rows",
        "gauge",
        ("view",),
        "Rows in the view.",
        leader_only=True,
    ),
    Described(
        "analytics_view_size_bytes",
        "gauge",
        ("view",),
        "Size of the view on disk, indexes included.",
        leader_only=True,
    ),
    Described(
        "analytics_view_refresh_success",
        "gauge",
        ("view",),
        "1 where the view's last refresh succeeded, 0 where it failed.",
        leader_only=True,
    ),
    Described("analytics_refreshes_total", "counter", ("view",), "Refreshes of the view, whatever their end."),
    Described(
        "analytics_refresh_failures_total",
        "counter",
        ("view", "reason"),
        "Failed refreshes of the view, by reason.",
    ),
    Described("analytics_runs_total", "counter", ("outcome",), "Runs, by outcome."),
    Described("analytics_runs_skipped_total", "counter", ("reason",), "Slots in which no run was made, by reason."),
    Described("analytics_run_retries_total", "counter", (), "Attempts repeated within a run."),
    Described(
        "analytics_cycle_duration_seconds",
        "histogram",
        (),
        "Durations of whole cycles, bookkeeping included.",
    ),
    Described(
        "analytics_run_lateness_seconds",
        "gauge",
        (),
        "How long after its slot the last scheduled run started.",
    ),
    Described("analytics_next_run_timestamp_seconds", "gauge", (), "Unix time of the next slot."),
    Described(
        "analytics_last_evaluation_timestamp_seconds",
        "gauge",
        (),
        "Unix time at which ages and alerts were last evaluated.",
    ),
    Described(
        "analytics_threshold",
        "gauge",
        ("name", "view"),
        "The limits that alerts compare with, as configured; view is empty where a limit is not a view's.",
    ),
    Described(
        "analytics_alerts_firing",
        "gauge",
        ("alert", "view"),
        "1 while the daemon's own alert fires, else 0; view is empty for alerts on the whole database.",
    ),
    Described("analytics_alert_deliveries_total", "counter", ("receiver",), "Alert messages that a receiver accepted."),
    Described(
        "analytics_alert_delivery_failures_total",
        "counter",
        ("receiver",),
        "Alert messages given up, refused or dropped.",
    ),
    Described("analytics_leader", "gauge", (), "1 on the replica that refreshes, 0 on standbys."),
    Described("analytics_database_up", "gauge", (), "1 while the database answers this replica."),
    Described("analytics_database_connections", "gauge", (), "Connections that this replica holds to the database."),
    Described("analytics_database_reconnects_total", "counter", (), "Connections to the database made anew."),
    Described("analytics_history_write_failures_total", "counter", (), "Failed writes to history."),
    Described("analytics_history_pending", "gauge", (), "Runs that wait in memory to be written to history."),
    Described("analytics_clock_steps_total", "counter", (), "Jumps of the wall clock against the monotonic one."),
    Described(
        "analytics_clock_skew_total",
        "counter",
        (),
        "Evaluations that met a refresh dated in the future, by the database server's clock.",
    ),
    Described(
        "analytics_config_last_reload_success",
        "gauge",
        (),
        "1 where the configuration last read is in force, 0 where it was refused and the old one stays.",
    ),
    Described("analytics_paused", "gauge", (), "1 while refreshes are suspended."),
    Described(
        "analytics_delta_rows",
        "gauge",
        (),
        "Incremental mode: rows captured and not yet folded into the rollups; absent in plain mode.",
    ),
    Described(
        "analytics_fold_seconds",
        "gauge",
        (),
        "Incremental mode: duration of the last fold, which comes before the views' refresh; absent in plain mode.",
    ),
    Described(
        "analytics_verify_last_timestamp_seconds",
        "gauge",
        (),
        "Unix time at which the rollups were last compared with the plain definitions; absent in plain mode.",
    ),
    Described(
        "analytics_verify_last_differences",
        "gauge",
        (),
        "Rows that differed then, 0 where the rollups are exact; absent in plain mode and before the first comparison.",
    ),
    Described(
        "analytics_guard_trips_total",
        "counter",
        ("guard", "view"),
        "Successful refreshes that look wrong: rows collapsed, or time exploded.",
    ),
    Described("analytics_log_lines_lost_total", "counter", (), "Log lines that could not be written."),
    Described("analytics_build_info", "gauge", ("version",), "1; the version is in the label."),
)

HELP = {metric.name: metric.help for metric in METRICS}
LABELS = {metric.name: metric.labels for metric in METRICS}
