"""The metrics of the API's process; every series carries `database` and `process="api"`."""

from dataclasses import replace

from analytics_refreshd.core import metrics
from analytics_refreshd.core.metric import Metric

PROCESS = "api"
"""The value of the label `process`. The daemon's series have no such label."""

QUERY_DURATION = replace(
    metrics.QUERY_DURATION, help="Duration of the last answered request, of this endpoint.", labels=("endpoint",)
)
QUERY_DURATIONS = replace(metrics.QUERY_DURATIONS, help="Durations of answered requests.")
QUERY_ERRORS = Metric(
    "analytics_query_errors_total",
    "counter",
    "Requests that the server could not answer: each got a status of 500 or above.",
    labels=("endpoint",),
)
CONNECTIONS = metrics.DATABASE_CONNECTIONS
LOG_LINES_LOST = metrics.LOG_LINES_LOST
BUILD_INFO = metrics.BUILD_INFO

API_METRICS: tuple[Metric, ...] = (
    QUERY_DURATION,
    QUERY_DURATIONS,
    QUERY_ERRORS,
    CONNECTIONS,
    LOG_LINES_LOST,
    BUILD_INFO,
)
"""Every metric of the API, in the order of its guide."""
