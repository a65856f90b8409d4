"""Builds what is sent by OpenTelemetry."""

import logging
import time
from collections.abc import Callable, Iterable

from opentelemetry.sdk.resources import Resource
from prometheus_client.metrics_core import Metric as Family

from analytics_refreshd.core.ports import EventLog
from analytics_refreshd.observe.otel.metrics import MetricsExport
from analytics_refreshd.observe.otel.outcomes import Outcomes
from analytics_refreshd.observe.otel.settings import OtelSettings


class OtelExport:
    """Implements `core.ports.Telemetry`.

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

    def start(self) -> None:
        """Start the threads that send."""
        if self._metrics is not None:
            self._metrics.start()

    def stop(self, within_seconds: float) -> None:
        """Send what is left, within the time, and end the threads."""
        until = time.monotonic() + within_seconds
        if self._metrics is not None and self._metrics.is_alive():
            self._metrics.stop(max(0.0, until - time.monotonic()))
