"""The metrics of what waits for a warehouse."""

from analytics_refreshd.core.metric import Metric

WAREHOUSE_LAG = Metric(
    "analytics_warehouse_lag_seconds",
    "gauge",
    "How long the oldest change that the warehouse lacks has waited, 0 where none does; absent without `[warehouse]`.",
    read_at="scrape",
)
WAREHOUSE_BATCHES = Metric(
    "analytics_warehouse_batches",
    "gauge",
    "Batches that wait for the warehouse; absent without `[warehouse]`.",
    read_at="scrape",
)
WAREHOUSE_ROWS = Metric(
    "analytics_warehouse_rows",
    "gauge",
    "Rows of these batches; absent without `[warehouse]`.",
    read_at="scrape",
)
WAREHOUSE_METRICS = (WAREHOUSE_LAG, WAREHOUSE_BATCHES, WAREHOUSE_ROWS)
