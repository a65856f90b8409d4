"""Builds what is sent by OpenTelemetry."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.sdk.resources import Resource
from prometheus_client.metrics_core import Metric as Family

from analytics_refreshd.core.ports import EventLog
from analytics_refreshd.core.telemetry import Tracer
from analytics_refreshd.observe.otel.metrics import MetricsExport
from analytics_refreshd.observe.otel.outcomes import Outcomes
from analytics_refreshd.observe.otel.settings import OtelSettings
from analytics_refreshd.observe.otel.traces import OtelTracer, TracesExport


class OtelExport:
    """Implements `core.telemetry.Telemetry`.

    `collect` gives the families of `/metrics`; `count_failure` is called with the signal of an export that failed. The
    variables of the environment that OpenTelemetry defines hold where `settings` say nothing.
    """

    def __init__(
        self,
        settings: OtelSettings,
        *,
        collect: Callable[[], Iterable[Family]],
        log: EventLog,
        count_failure: Callable[[str], None],
    ) -> None:
        # what its exporters log about failures, `Outcomes` logs once
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL + 1)
        resource = Resource.create(dict(settings.attributes))
        self._metrics: MetricsExport | None = None
        if settings.metrics:
            outcomes = Outcomes("metrics", settings.host, log, count_failure)
            self._metrics = MetricsExport(settings, resource, collect, outcomes)
        self._traces: TracesExport | None = None
        self._tracer: OtelTracer | None = None
        if settings.traces:
            outcomes = Outcomes("traces", settings.host, log, count_failure)
            self._traces = TracesExport(settings, resource, outcomes)
            self._tracer = self._traces.tracer

    @property
    def tracer(self) -> Tracer | None:
        """Return what makes spans, None where traces are not sent."""
        return self._tracer

    def ids(self, run_id: object) -> Mapping[str, str]:
        """Return the ids of this thread's span, else of that run's."""
        return {} if self._tracer is None else self._tracer.ids(run_id)

    def start(self) -> None:
        """Start the thread that sends metrics.

        That of traces waits for spans already.
        """
        if self._metrics is not None:
            self._metrics.start()

    def stop(self, within_seconds: float) -> None:
        """Send what is left, within the time, and end the threads."""
        until = time.monotonic() + within_seconds
        if self._traces is not None:
            self._traces.stop(within_seconds / 2)
        if self._metrics is not None and self._metrics.is_alive():
            self._metrics.stop(max(0.0, until - time.monotonic()))
