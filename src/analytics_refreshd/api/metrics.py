"""The Prometheus metrics of the API's process."""

from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from analytics_refreshd.core import api_metrics as catalogue
from analytics_refreshd.core.api_metrics import PROCESS
from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.stream import Ending

_ERROR = 500


class ApiMetrics:
    """Counts answers on a registry of its own. Series of all `endpoints` exist from the first scrape."""

    def __init__(
        self,
        database: str,
        version: str,
        endpoints: Iterable[str],
        *,
        streams: Callable[[], int],
        connections: Callable[[], int],
        log_lines_lost: Callable[[], int],
        cache_bytes: Callable[[], int],
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._series = (database, PROCESS)
        self._duration = Gauge(*_family(catalogue.QUERY_DURATION), registry=self.registry)
        self._durations = Histogram(
            *_family(catalogue.QUERY_DURATIONS), registry=self.registry, buckets=catalogue.QUERY_DURATIONS.buckets
        )
        self._errors = Counter(*_family(catalogue.QUERY_ERRORS), registry=self.registry)
        self._refused = Counter(*_family(catalogue.REFUSED), registry=self.registry)
        self._unknown_keys = Counter(*_family(catalogue.UNKNOWN_KEYS), registry=self.registry)
        self._uncounted = Counter(*_family(catalogue.UNCOUNTED), registry=self.registry)
        self._cached = Counter(*_family(catalogue.CACHE), registry=self.registry)
        for metric, counter in (
            (catalogue.REFUSED, self._refused),
            (catalogue.UNKNOWN_KEYS, self._unknown_keys),
            (catalogue.UNCOUNTED, self._uncounted),
            (catalogue.CACHE, self._cached),
        ):
            for value in metric.known[metric.labels[0]]:
                counter.labels(*self._series, value)
        # of a closed list of endpoints: found once
        self._of_endpoint = cache(self._series_of)
        for endpoint in endpoints:
            self._durations.labels(*self._series, endpoint)
            self._errors.labels(*self._series, endpoint)
        kept = Gauge(*_family(catalogue.CACHE_BYTES), registry=self.registry)
        kept.labels(*self._series).set_function(cache_bytes)
        Gauge(*_family(catalogue.STREAMS), registry=self.registry).labels(*self._series).set_function(streams)
        self._ended = Counter(*_family(catalogue.STREAMS_ENDED), registry=self.registry)
        for ending in Ending:
            self._ended.labels(*self._series, ending)
        open_now = Gauge(*_family(catalogue.CONNECTIONS), registry=self.registry)
        open_now.labels(*self._series).set_function(connections)
        lost = Gauge(*_family(catalogue.LOG_LINES_LOST), registry=self.registry)
        lost.labels(*self._series).set_function(log_lines_lost)
        exports = catalogue.OTEL_EXPORT_FAILURES
        self._exports_failed = Counter(*_family(exports), registry=self.registry)
        for signal in exports.known["signal"]:
            self._exports_failed.labels(*self._series, signal)
        Gauge(*_family(catalogue.BUILD_INFO), registry=self.registry).labels(*self._series, version).set(1)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def looked_in_vain(self, result: str) -> None:
        """Count an API key that nobody has."""
        self._unknown_keys.labels(*self._series, result).inc()

    def export_failed(self, signal: str) -> None:
        """Count an export by OpenTelemetry that failed."""
        self._exports_failed.labels(*self._series, signal).inc()

    def uncounted(self, result: str) -> None:
        """Count a request that the limits could not count."""
        self._uncounted.labels(*self._series, result).inc()

    def cached(self, result: str) -> None:
        """Count a question to the cache of answers."""
        self._cached.labels(*self._series, result).inc()

    def answered(self, endpoint: str, status: int, seconds: float, error: str | None = None) -> None:
        """Observe an answer. One that the server could not give is an error, and has no duration."""
        if error is not None and status < _ERROR:
            self._refused.labels(*self._series, error).inc()
        if status >= _ERROR:
            self.failed(endpoint)
            return
        last, durations = self._of_endpoint(endpoint)
        last.set(seconds)
        durations.observe(seconds)

    def _series_of(self, endpoint: str) -> tuple[Gauge, Histogram]:
        return self._duration.labels(*self._series, endpoint), self._durations.labels(*self._series, endpoint)

    def failed(self, endpoint: str) -> None:
        """Count an answer that the server could not give."""
        self._errors.labels(*self._series, endpoint).inc()

    def stream_ended(self, ending: Ending) -> None:
        """Count a stream that ended."""
        self._ended.labels(*self._series, ending).inc()


def _family(metric: Metric) -> tuple[str, str, tuple[str, ...]]:
    return metric.name, metric.help, ("database", "process", *metric.labels)
