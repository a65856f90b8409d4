"""Sends the metrics at intervals, on a thread of its own."""

import threading
import time
from collections.abc import Callable, Iterable

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family

from analytics_refreshd import __version__
from analytics_refreshd.observe.otel.families import metrics_data
from analytics_refreshd.observe.otel.outcomes import Outcomes
from analytics_refreshd.observe.otel.session import CollectorSession
from analytics_refreshd.observe.otel.settings import OtelSettings

_SIGNAL = "metrics"
SCOPE = InstrumentationScope("analytics_refreshd", __version__)


class MetricsExport(threading.Thread):
    """Collects the families of `/metrics` and sends them, until stopped.

    Then it sends once more.
    """

    def __init__(
        self,
        settings: OtelSettings,
        resource: Resource,
        collect: Callable[[], Iterable[Family]],
        outcomes: Outcomes,
    ) -> None:
        super().__init__(name="otel-metrics", daemon=True)
        self._every_seconds = settings.metrics_every_seconds
        self._resource = resource
        self._collect = collect
        self._outcomes = outcomes
        self._session = CollectorSession(settings.headers_file)
        self._exporter = OTLPMetricExporter(
            settings.address(_SIGNAL),
            certificate_file=str(settings.ca_file) if settings.ca_file else None,
            timeout=settings.timeout_seconds,
            compression=Compression.Gzip,
            session=self._session,
        )
        self._stopping = threading.Event()
        self._started_ns = time.time_ns()

    def run(self) -> None:
        """Send at intervals, however long one export takes."""
        while not self._stopping.wait(self._every_seconds):
            self._export()
        self._export()

    def stop(self, within_seconds: float) -> None:
        """Send once more, and end within the time."""
        self._stopping.set()
        self.join(within_seconds)
        # wakes an exporter that waits to try again
        self._exporter.shutdown()

    def _export(self) -> None:
        self._session.problem = None
        try:
            data = metrics_data(
                self._collect(), self._resource, SCOPE, started_ns=self._started_ns, now_ns=time.time_ns()
            )
            result = self._exporter.export(data)
        except Exception as error:
            # the thread must go on: the next export may succeed
            self._outcomes.failed(f"{type(error).__name__}: {error}")
            return
        if result is MetricExportResult.SUCCESS:
            self._outcomes.taken()
        else:
            self._outcomes.failed(self._session.problem)
