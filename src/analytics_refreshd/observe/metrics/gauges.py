"""The gauges that follow from the daemon's status snapshot at the scrape."""

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from analytics_refreshd.core.alerts.lifecycle import Alert
from analytics_refreshd.core.model import Limits, ViewResult
from analytics_refreshd.core.snapshot import Snapshot, ViewSnapshot
from analytics_refreshd.core.staleness import critical_age_seconds, max_age_seconds
from analytics_refreshd.observe.metrics.names import HELP, LABELS

_logger = logging.getLogger(__name__)

VIEW_ALERTS = (Alert.VIEW_STALE, Alert.REFRESH_FAILED, Alert.REFRESH_SLOW)
_GAUGES = (
    "analytics_view_age_minutes",
    "analytics_view_last_success_timestamp_seconds",
    "analytics_refresh_duration_seconds",
    "analytics_view_refresh_success",
    "analytics_view_rows",
    "analytics_view_size_bytes",
    "analytics_success_rate_percent",
    "analytics_latency_p95_seconds",
    "analytics_executions",
    "analytics_next_run_timestamp_seconds",
    "analytics_last_evaluation_timestamp_seconds",
    "analytics_threshold",
    "analytics_alerts_firing",
    "analytics_leader",
    "analytics_database_up",
    "analytics_database_connections",
    "analytics_history_pending",
    "analytics_paused",
    "analytics_delta_rows",
    "analytics_fold_seconds",
    "analytics_verify_last_timestamp_seconds",
    "analytics_verify_last_differences",
)


class StateSource(Protocol):
    """Whoever can give the daemon's status snapshot from memory; `core.ports.Health` does."""

    def snapshot(self) -> Snapshot:
        """The state at this moment."""


class Families:
    """Builds metric families, each with the `database` label first."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._families = {
            name: GaugeMetricFamily(name, HELP[name], labels=("database", *LABELS[name])) for name in _GAUGES
        }

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """Add a sample. An unknown value gives none, because a 0 would look fresh."""
        if value is not None:
            self._families[name].add_metric((self._database, *labels), float(value))

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._families.values())


class StateCollector:
    """Reads `source` at each scrape. Never raises: the library would answer 500 for everything else, too."""

    def __init__(
        self,
        database: str,
        *,
        views: Callable[[], tuple[str, ...]],
        last: Callable[[str], ViewResult | None],
        log_lines_lost: Callable[[], int],
        connections: Callable[[], int],
    ) -> None:
        self.source: StateSource | None = None
        self._database = database
        self._views = views
        self._last = last
        self._log_lines_lost = log_lines_lost
        self._connections = connections
        self._told: set[type[Exception]] = set()

    def describe(self) -> list[Metric]:
        """Describe nothing, so that registering does not read the state."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family; those without a known value carry no sample."""
        name = "analytics_log_lines_lost_total"
        lost = CounterMetricFamily(name, HELP[name], labels=("database",))
        lost.add_metric((self._database,), self._log_lines_lost())
        yield lost
        families = Families(self._database)
        try:
            if self.source is not None:
                self._read(self.source.snapshot(), families)
        except Exception as error:
            # counters are served whatever is wrong with the rest; absent(analytics_leader) tells of it
            families = Families(self._database)
            if type(error) not in self._told:  # each scrape meets it again
                self._told.add(type(error))
                _logger.error("the gauges cannot be read", exc_info=error)
        yield from families

    def _read(self, snapshot: Snapshot, families: Families) -> None:
        state = snapshot.state
        if snapshot.leads:
            for view in snapshot.views:
                if view.view in self._views():
                    self._read_view(view, families)
        families.add("analytics_leader", snapshot.leads)
        families.add("analytics_database_up", state.database_up)
        families.add("analytics_database_connections", self._connections())
        families.add("analytics_history_pending", state.history_pending)
        families.add("analytics_paused", snapshot.pause is not None)
        if state.delta is not None:
            families.add("analytics_delta_rows", state.delta.pending_rows)
            families.add("analytics_fold_seconds", state.delta.fold_seconds)
            if state.delta.verified_at is not None:
                families.add("analytics_verify_last_timestamp_seconds", state.delta.verified_at.timestamp())
            families.add("analytics_verify_last_differences", state.delta.verified_differences)
        if state.rates is not None:
            families.add("analytics_success_rate_percent", state.rates.success_rate_percent)
            families.add("analytics_latency_p95_seconds", state.rates.latency_p95_seconds)
            families.add("analytics_executions", state.rates.executions)
        if state.next_run_at is not None:
            families.add("analytics_next_run_timestamp_seconds", state.next_run_at.timestamp())
        since = snapshot.since_evaluation_seconds
        if since is not None:
            moment = snapshot.now.timestamp() - since
            families.add("analytics_last_evaluation_timestamp_seconds", moment)
        self._read_alerts(snapshot, families)
        for (threshold, view_name), value in thresholds(state.limits, self._views()).items():
            families.add("analytics_threshold", value, threshold, view_name)

    def _read_view(self, view: ViewSnapshot, families: Families) -> None:
        name = view.view
        if view.age is not None:
            age = view.age.seconds
            families.add("analytics_view_age_minutes", None if age is None else age / 60, name)
            if view.age.last_success_at is not None:
                moment = view.age.last_success_at.timestamp()
                families.add("analytics_view_last_success_timestamp_seconds", moment, name)
        families.add("analytics_view_rows", view.rows, name)
        families.add("analytics_view_size_bytes", view.status.size_bytes, name)
        result = self._last(name)
        if result is None and view.last is not None:
            # after a restart history still knows the last run
            result = view.last[1]
        if result is not None:
            families.add("analytics_refresh_duration_seconds", result.duration_seconds, name)
            families.add("analytics_view_refresh_success", result.success, name)

    def _read_alerts(self, snapshot: Snapshot, families: Families) -> None:
        firing = snapshot.firing
        for alert in Alert:
            for view in self._views() if alert in VIEW_ALERTS else ("",):
                families.add("analytics_alerts_firing", (alert, view) in firing, alert.value, view)


def thresholds(limits: Limits, views: tuple[str, ...]) -> dict[tuple[str, str], float]:
    """Return every limit by (name, view). View "" stands for the whole database."""
    found: dict[tuple[str, str], float] = {
        ("interval_seconds", ""): limits.interval_seconds,
        ("stale_for_seconds", ""): limits.stale_for_seconds,
        ("refresh_slow_seconds", ""): limits.slow_seconds,
        ("slow_after_runs", ""): limits.slow_after_runs,
        ("failed_after_runs", ""): limits.failed_after_runs,
        ("resolve_after_runs", ""): limits.resolve_after_runs,
        ("success_rate_percent_min", ""): limits.success_rate_min_percent,
        ("latency_p95_seconds_max", ""): limits.latency_p95_max_seconds,
        ("min_executions", ""): limits.min_executions,
        ("database_unavailable_seconds", ""): limits.database_unavailable_for_seconds,
        ("history_failing_seconds", ""): limits.history_failing_for_seconds,
        ("no_leader_seconds", ""): limits.no_leader_for_seconds,
    }
    for view in views:
        found["view_age_seconds", view] = max_age_seconds(limits, view)
        found["view_age_critical_seconds", view] = critical_age_seconds(limits, view)
    return found
