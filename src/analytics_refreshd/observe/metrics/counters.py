"""Prometheus metrics: counters set by the run, gauges read from the `Snapshot` at scrape.

A scrape never touches the database. Label values come from the configuration or from a closed list; a view that
nobody configured is `other`.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.core.model import Outcome, Reason, Run, ViewResult
from analytics_refreshd.observe.metrics.gauges import StateCollector, StateSource
from analytics_refreshd.observe.metrics.names import HELP, LABELS

OTHER = "other"
RUN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240)
QUERY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
GUARDS = ("rows_collapsed", "slow_beside_itself")
SKIPPED = (Reason.CONNECT, Reason.OVERLAP, Reason.PAUSED)
"""Why a slot can pass without a run."""
FAILED = tuple(reason for reason in Reason if reason not in (Reason.NOT_LEADER, Reason.OVERLAP, Reason.PAUSED))


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
        self._views: tuple[str, ...] = ()
        self._make(version)
        self.configure(views, endpoints, receivers)
        self._collector = StateCollector(
            database,
            views=lambda: self._views,
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

    def _counter(self, name: str) -> Counter:
        return Counter(name, HELP[name], ("database", *LABELS[name]), registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        return Gauge(name, HELP[name], ("database", *LABELS[name]), registry=self.registry)

    def _histogram(self, name: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, HELP[name], ("database", *LABELS[name]), registry=self.registry, buckets=buckets)

    def _make(self, version: str) -> None:
        self._refreshes = self._counter("analytics_refreshes_total")
        self._failures = self._counter("analytics_refresh_failures_total")
        self._runs = self._counter("analytics_runs_total")
        self._skipped = self._counter("analytics_runs_skipped_total")
        self._retries = self._counter("analytics_run_retries_total")
        self._durations = self._histogram("analytics_refresh_run_duration_seconds", RUN_BUCKETS)
        self._cycles = self._histogram("analytics_cycle_duration_seconds", RUN_BUCKETS)
        self._lateness = self._gauge("analytics_run_lateness_seconds")
        self._probe_last = self._gauge("analytics_query_duration_seconds")
        self._probes = self._histogram("analytics_query_run_duration_seconds", QUERY_BUCKETS)
        self._delivered = self._counter("analytics_alert_deliveries_total")
        self._undelivered = self._counter("analytics_alert_delivery_failures_total")
        self._reconnects = self._counter("analytics_database_reconnects_total")
        self._history_failures = self._counter("analytics_history_write_failures_total")
        self._clock_steps = self._counter("analytics_clock_steps_total")
        self._clock_skew = self._counter("analytics_clock_skew_total")
        self._guards = self._counter("analytics_guard_trips_total")
        self._reload = self._gauge("analytics_config_last_reload_success")
        self._build = self._gauge("analytics_build_info")
        for metric in (
            self._retries,
            self._cycles,
            self._reconnects,
            self._history_failures,
            self._clock_steps,
            self._clock_skew,
        ):
            metric.labels(self._database)
        for outcome in Outcome:
            self._runs.labels(self._database, outcome.value)
        for reason in SKIPPED:
            self._skipped.labels(self._database, reason.value)
        self._reload.labels(self._database).set(1)
        self._build.labels(self._database, version).set(1)

    def configure(self, views: Sequence[str], endpoints: Sequence[str], receivers: Sequence[str]) -> None:
        """Take over names from a (re)loaded configuration: new series start at 0, those of names gone disappear."""
        _keep("view", views, self._refreshes, self._failures, self._durations, self._guards)
        _keep("endpoint", endpoints, self._probe_last, self._probes)
        _keep("receiver", receivers, self._delivered, self._undelivered)
        for view in views:
            self._refreshes.labels(self._database, view)
            self._durations.labels(self._database, view)
            for reason in FAILED:
                self._failures.labels(self._database, view, reason.value)
            for guard in GUARDS:
                self._guards.labels(self._database, guard, view)
        for endpoint in endpoints:
            self._probes.labels(self._database, endpoint)
        for receiver in receivers:
            self._delivered.labels(self._database, receiver)
            self._undelivered.labels(self._database, receiver)
        self._views = tuple(views)
        self._endpoints = frozenset(endpoints)
        self._receivers = frozenset(receivers)
        for view in [view for view in self._last if view not in self._views]:
            del self._last[view]

    def _view(self, view: str) -> str:
        return view if view in self._views else OTHER

    def _receiver(self, receiver: str) -> str:
        return receiver if receiver in self._receivers else OTHER

    def run_finished(self, run: Run) -> None:
        """Count a run and its views, and observe their durations. A skipped slot is `slot_skipped`'s to count."""
        if run.outcome in (None, Outcome.SKIPPED):
            return
        self._runs.labels(self._database, run.outcome.value).inc()
        if run.lateness_seconds is not None:
            self._lateness.labels(self._database).set(run.lateness_seconds)
        for result in run.views:
            view = self._view(result.view)
            self._refreshes.labels(self._database, view).inc()
            if not result.success:
                self._failures.labels(self._database, view, (result.reason or Reason.OTHER).value).inc()
            if result.duration_seconds is not None:
                self._durations.labels(self._database, view).observe(result.duration_seconds)
            if view != OTHER:
                self._last[view] = result

    def slot_skipped(self, reason: Reason) -> None:
        """Count a skipped slot."""
        self._runs.labels(self._database, Outcome.SKIPPED.value).inc()
        self._skipped.labels(self._database, reason.value).inc()

    def retried(self) -> None:
        """Count a retry within a run."""
        self._retries.labels(self._database).inc()

    def cycle_finished(self, seconds: float) -> None:
        """Observe a whole cycle, bookkeeping included."""
        self._cycles.labels(self._database).observe(seconds)

    def reconnected(self) -> None:
        """Count a database reconnect."""
        self._reconnects.labels(self._database).inc()

    def clock_stepped(self) -> None:
        """Count a clock step."""
        self._clock_steps.labels(self._database).inc()

    def clock_skewed(self) -> None:
        """Count an evaluation that met a time in the future."""
        self._clock_skew.labels(self._database).inc()

    def history_write_failed(self) -> None:
        """Count a failed history write."""
        self._history_failures.labels(self._database).inc()

    def delivered(self, receiver: str) -> None:
        """Count a delivered alert."""
        self._delivered.labels(self._database, self._receiver(receiver)).inc()

    def delivery_failed(self, receiver: str) -> None:
        """Count a failed delivery."""
        self._undelivered.labels(self._database, self._receiver(receiver)).inc()

    def probed(self, endpoint: str, seconds: float | None) -> None:
        """Observe a catalogue query's probe. Without an answer the last figure is removed."""
        label = endpoint if endpoint in self._endpoints else OTHER
        if seconds is None:
            with suppress(KeyError):
                self._probe_last.remove(self._database, label)
            return
        self._probe_last.labels(self._database, label).set(seconds)
        self._probes.labels(self._database, label).observe(seconds)

    def guard_tripped(self, guard: str, view: str) -> None:
        """Count a guard."""
        self._guards.labels(self._database, guard if guard in GUARDS else OTHER, self._view(view)).inc()

    def config_reloaded(self, success: bool) -> None:
        """Set whether the last reload succeeded."""
        self._reload.labels(self._database).set(success)


def _keep(label: str, names: Sequence[str], *metrics: Counter | Gauge | Histogram) -> None:
    """Remove the series whose `label` is not among `names`: a series kept would show its last value for ever."""
    for metric in metrics:
        (family,) = metric.collect()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        gone = {
            tuple(sample.labels[each] for each in ("database", *LABELS[name]))
            for sample in family.samples
            if sample.labels[label] not in (*names, OTHER)
        }
        for values in gone:
            metric.remove(*values)
