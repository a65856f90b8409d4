"""The metrics of the API's process; every series carries `database` and `process="api"`."""

from dataclasses import replace

from analytics_refreshd.core import metrics, otel_metrics
from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.stream import Ending

REFUSALS = (
    "unauthorized",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "validation_error",
    "bad_request",
    "missing_organization",
    "conflict",
    "rate_limited",
)
"""Every `error` of a problem document that is the client's own."""

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
REFUSED = Metric(
    "analytics_api_requests_refused_total",
    "counter",
    "Requests answered with a status of 400 to 499, by the problem document's `error`.",
    labels=("error",),
    known={
        "error": REFUSALS,
    },
)
UNKNOWN_KEYS = Metric(
    "analytics_api_unknown_keys_total",
    "counter",
    "API keys that nobody has: looked for in the database, remembered, or limited, which is neither.",
    labels=("result",),
    known={"result": ("unknown", "remembered", "limited")},
)
UNCOUNTED = Metric(
    "analytics_api_requests_uncounted_total",
    "counter",
    "Requests that the limits could not count, since their Redis is away: admitted or refused, as configured.",
    labels=("result",),
    known={"result": ("admitted", "refused")},
)
CACHE = Metric(
    "analytics_api_cache_total",
    "counter",
    "Questions to the cache of answers: answered from it, read, or joined with one that was just being read.",
    labels=("result",),
    known={"result": ("hit", "miss", "joined")},
)
CACHE_BYTES = Metric("analytics_api_cache_bytes", "gauge", "Memory of the answers that are kept.", read_at="scrape")
STREAMS = Metric("analytics_api_streams", "gauge", "Streams of live figures that are open.", read_at="scrape")
STREAMS_ENDED = Metric(
    "analytics_api_streams_ended_total",
    "counter",
    "Streams that ended: the client left (gone), read too slowly (slow) or lost its access (access), or the server"
    " stopped (stopping).",
    labels=("ending",),
    known={"ending": tuple(Ending)},
)
CONNECTIONS = metrics.DATABASE_CONNECTIONS
LOG_LINES_LOST = metrics.LOG_LINES_LOST
BUILD_INFO = metrics.BUILD_INFO
OTEL_EXPORT_FAILURES = otel_metrics.OTEL_EXPORT_FAILURES

API_METRICS: tuple[Metric, ...] = (
    QUERY_DURATION,
    QUERY_DURATIONS,
    QUERY_ERRORS,
    REFUSED,
    UNKNOWN_KEYS,
    UNCOUNTED,
    CACHE,
    CACHE_BYTES,
    STREAMS,
    STREAMS_ENDED,
    CONNECTIONS,
    LOG_LINES_LOST,
    BUILD_INFO,
    OTEL_EXPORT_FAILURES,
)
"""Every metric of the API, in the order of its guide."""
