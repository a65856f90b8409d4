"""Prometheus metrics: counters set by the run, gauges read from the `Snapshot` at scrape.

A scrape never touches the database. Label values come from the configuration or from a closed list; a view that
nobody configured is `other`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import product
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from analytics_refreshd.core import cost_metrics
from analytics_refreshd.core import metrics as catalogue
from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.metrics import METRICS, OTHER
from analytics_refreshd.core.model import Outcome, Reason, Run, ViewResult
from analytics_refreshd.observe.metrics.gauges import StateCollector, StateSource

Instrument = Counter | Gauge | Histogram


class PrometheusMetrics:
    """Implements `core.ports.Metrics` on a registry of its own, which `http` serves.

    `views`, `endpoints` (catalogue queries probed) and `receivers` are the configured names: their series exist
    from the first scrape. `log_lines_lost` and
    `connections`, those open to the database, are read at scrape. Raises RefreshdError where
    PROMETHEUS_MULTIPROC_DIR is set, since its files would add up the counters of dead processes.
    """

    def __init__(
        self,
        database: str,
        version: str,
        views: Sequence[str],
        *,
        endpoints: Sequence[str] = (),
        receivers: Sequence[str] = (),
        log_lines_lost: Callable[[], int] = lambda: 0,
        connections: Callable[[], int] = lambda: 0,
    ) -> None:
        if any(name.upper() == "PROMETHEUS_MULTIPROC_DIR" and value for name, value in os.environ.items()):
            message = (
                "PROMETHEUS_MULTIPROC_DIR is set: unset it, this daemon is one process and keeps its metrics in memory"
            )
            raise RefreshdError(message)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._database = database
        self._last: dict[str, ViewResult] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._instruments = {
            metric: _instrument(metric, self.registry) for metric in METRICS if metric.read_at == "event"
        }
        self._of(catalogue.CONFIG_LAST_RELOAD_SUCCESS).set(1)
        self._of(catalogue.BUILD_INFO, version=version).set(1)
        self.configure(views, endpoints, receivers)
        self._collector = StateCollector(
            database,
            views=lambda: self._names["view"],
            last=self._last.get,
            log_lines_lost=log_lines_lost,
            connections=connections,
        )
        self.registry.register(self._collector)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def watch(self, source: StateSource) -> None:
        """Read gauges from `source` at each scrape from now on."""
        self._collector.source = source

    def configure(self, views: Sequence[str], endpoints: Sequence[str], receivers: Sequence[str]) -> None:
        """Take over names from a (re)loaded configuration.

        New series start at 0, and those of names that are gone disappear.
        """
        self._names = {"view": tuple(views), "endpoint": tuple(endpoints), "receiver": tuple(receivers)}
        for metric, instrument in self._instruments.items():
            _keep(instrument, metric, self._names)
            if metric.kind != "gauge":
                values = [metric.known.get(label) or self._names.get(label, ()) for label in metric.labels]
                for combination in product(*values):
                    instrument.labels(self._database, *combination)
        for view in [view for view in self._last if view not in views]:
            del self._last[view]

    def _series(self, metric: Metric, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Return the label values of one series; a value that is in no list becomes `other`."""
        return (self._database, *(self._known(metric, label, labels[label]) for label in metric.labels))

    def _known(self, metric: Metric, label: str, value: str) -> str:
        closed = metric.known.get(label) or self._names.get(label)
        return value if closed is None or value in closed else OTHER

    def _of(self, metric: Metric, **labels: str) -> Any:
        return self._instruments[metric].labels(*self._series(metric, labels))

    def count(self, metric: Metric, **labels: str) -> None:
        """Add one to a counter of the catalogue."""
        self._of(metric, **labels).inc()

    def run_finished(self, run: Run) -> None:
        """Count a run and its views, and observe their durations. A skipped slot is `slot_skipped`'s to count."""
        if run.outcome in (None, Outcome.SKIPPED):
            return
        self.count(catalogue.RUNS, outcome=run.outcome)
        if run.lateness_seconds is not None:
            self._of(catalogue.RUN_LATENESS).set(run.lateness_seconds)
        if run.cost is None:
            self.count(cost_metrics.RUN_COSTS_UNKNOWN)
        else:
            for name, figure in run.cost.known().items():
                self._of(cost_metrics.RUN_COSTS[name]).inc(figure)
        for result in run.views:
            self.count(catalogue.REFRESHES, view=result.view)
            if not result.success:
                self.count(catalogue.REFRESH_FAILURES, view=result.view, reason=result.reason or Reason.OTHER)
            if result.duration_seconds is not None:
                self._of(catalogue.REFRESH_DURATIONS, view=result.view).observe(result.duration_seconds)
            if result.view in self._names["view"]:
                self._last[result.view] = result

    def slot_skipped(self, reason: Reason) -> None:
        """Count a skipped slot."""
        self.count(catalogue.RUNS, outcome=Outcome.SKIPPED)
        self.count(catalogue.RUNS_SKIPPED, reason=reason)

    def cycle_finished(self, seconds: float) -> None:
        """Observe a whole cycle, bookkeeping included."""
        self._of(catalogue.CYCLE_DURATIONS).observe(seconds)

    def probed(self, endpoint: str, seconds: float | None) -> None:
        """Observe a catalogue query's probe.

        Without an answer the last figure is removed, because it would look like this probe's.
        """
        if seconds is None:
            with suppress(KeyError):
                series = self._series(catalogue.QUERY_DURATION, {"endpoint": endpoint})
                self._instruments[catalogue.QUERY_DURATION].remove(*series)
            return
        self._of(catalogue.QUERY_DURATION, endpoint=endpoint).set(seconds)
        self._of(catalogue.QUERY_DURATIONS, endpoint=endpoint).observe(seconds)

    def config_reloaded(self, success: bool) -> None:
        """Set whether the last reload succeeded."""
        self._of(catalogue.CONFIG_LAST_RELOAD_SUCCESS).set(success)


def _instrument(metric: Metric, registry: CollectorRegistry) -> Instrument:
    labels = ("database", *metric.labels)
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, labels, registry=registry)
    return Histogram(metric.name, metric.help, labels, registry=registry, buckets=metric.buckets)


def _keep(instrument: Instrument, metric: Metric, names: Mapping[str, Sequence[str]]) -> None:
    """Remove the series of names that are gone, because they would show their last value for ever."""
    (family,) = instrument.collect()
    for sample in list(family.samples):
        if any(sample.labels[label] not in (*names[label], OTHER) for label in metric.labels if label in names):
            with suppress(KeyError):  # a histogram has many samples of one series
                instrument.remove(*(sample.labels[each] for each in ("database", *metric.labels)))
