"""The metrics of what refreshes cost the server.

Those of a cost are found by the figure's name in `core.cost`.
"""

from analytics_refreshd.core.metric import Metric

RUN_COSTS = {
    "wal_bytes": Metric(
        "analytics_run_wal_bytes_total", "counter", "Bytes that runs wrote to the WAL, as far as they tell."
    ),
    "blocks_hit": Metric(
        "analytics_run_blocks_hit_total",
        "counter",
        "Blocks that runs found in PostgreSQL's buffers, as far as they tell.",
    ),
    "blocks_read": Metric(
        "analytics_run_blocks_read_total", "counter", "Blocks that runs had to read, as far as they tell."
    ),
    "temporary_bytes": Metric(
        "analytics_run_temporary_bytes_total",
        "counter",
        "Bytes that runs wrote to temporary files and tables, as far as they tell.",
    ),
}
RUN_COSTS_UNKNOWN = Metric(
    "analytics_run_costs_unknown_total",
    "counter",
    "Runs of which is not known what they cost, failed ones among them; the counters of costs lack them.",
)
REFRESH_COSTS = {
    "wal_bytes": Metric(
        "analytics_refresh_wal_bytes",
        "gauge",
        "Bytes that the view's last refresh wrote to the WAL; absent where unknown, as in one transaction for all.",
        labels=("view",),
        read_at="scrape",
    ),
    "blocks_hit": Metric(
        "analytics_refresh_blocks_hit",
        "gauge",
        "Blocks that the view's last refresh found in PostgreSQL's buffers; absent where unknown.",
        labels=("view",),
        read_at="scrape",
    ),
    "blocks_read": Metric(
        "analytics_refresh_blocks_read",
        "gauge",
        "Blocks that the view's last refresh had to read; absent where unknown.",
        labels=("view",),
        read_at="scrape",
    ),
    "temporary_bytes": Metric(
        "analytics_refresh_temporary_bytes",
        "gauge",
        "Bytes that the view's last refresh wrote to temporary files and tables; absent where unknown.",
        labels=("view",),
        read_at="scrape",
    ),
}
REFRESH_ROWS_CHANGED = Metric(
    "analytics_refresh_rows_changed",
    "gauge",
    "Rows that the view's last refresh deleted and inserted; absent where unknown.",
    labels=("view",),
    read_at="scrape",
)
DATABASE_SIZE = Metric(
    "analytics_database_size_bytes",
    "gauge",
    "Size of the whole database, once an hour; absent without `[alerts] disk_bytes`.",
    read_at="scrape",
)
DISK_FULL = Metric(
    "analytics_disk_full_seconds",
    "gauge",
    "Seconds until `[alerts] disk_bytes` are used up at the growth of two weeks, +Inf where nothing grows; absent "
    "without that key, and while fewer than 24 hours are known.",
    read_at="scrape",
)
COST_METRICS: tuple[Metric, ...] = (
    *RUN_COSTS.values(),
    RUN_COSTS_UNKNOWN,
    *REFRESH_COSTS.values(),
    REFRESH_ROWS_CHANGED,
    DATABASE_SIZE,
    DISK_FULL,
)
