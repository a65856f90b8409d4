"""The metric of the export by OpenTelemetry."""

from analytics_refreshd.core.metric import Metric

SIGNALS = ("metrics", "traces")
"""What can be exported."""

OTEL_EXPORT_FAILURES = Metric(
    "analytics_otel_export_failures_total",
    "counter",
    "Exports by OpenTelemetry that the collector did not take: what they held is lost.",
    labels=("signal",),
    known={"signal": SIGNALS},
)
OTEL_METRICS = (OTEL_EXPORT_FAILURES,)
