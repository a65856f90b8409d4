"""The gauges that follow from the daemon's state and the moment of the scrape."""

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertState
from analytics_refreshd.core.model import Limits, Role, ViewResult
from analytics_refreshd.core.picture import ServiceState, ViewState
from analytics_refreshd.observe import reading
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
    """Whoever can give a picture of the daemon from memory; `core.ports.Health` does."""

    def state(self) -> ServiceState:
        """The picture at this moment."""


class Families:
    """Metric families under construction, each with the `database` label first."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._families = {
            name: GaugeMetricFamily(name, HELP[name], labels=("database", *LABELS[name])) for name in _GAUGES
        }

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """One sample; a value that is not known gives none, since a 0 would look fresh."""
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
        monotonic: Callable[[], float],
    ) -> None:
        self.source: StateSource | None = None
        self._database = database
        self._views = views
        self._last = last
        self._log_lines_lost = log_lines_lost
        self._connections = connections
        self._monotonic = monotonic
        self._told: set[type[Exception]] = set()

    def describe(self) -> list[Metric]:
        """Nothing: registering must not read the state."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family; those without a known value carry no sample."""
        name = "analytics_log_lines_lost_total"
        lost = CounterMetricFamily(name, HELP[name], labels=("database",))
        lost.add_metric((self._database,), self._log_lines_lost())
        yield lost
        families = Families(self._database)
        try:
            if self.source is not None:
                self._read(self.source.state(), families)
        except Exception as error:
            # The counters are worth serving whatever is wrong with the rest; absent(analytics_leader) tells of it.
            families = Families(self._database)
            if type(error) not in self._told:  # each scrape meets it anew
                self._told.add(type(error))
                _logger.error("the gauges cannot be read", exc_info=error)
        yield from families

    def _read(self, state: ServiceState, families: Families) -> None:
        monotonic = self._monotonic()
        leader = state.role is Role.LEADER
        if leader:
            for view in state.views:
                if view.view in self._views():
                    self._read_view(state, view, monotonic, families)
        families.add("analytics_leader", leader)
        families.add("analytics_database_up", state.database_up)
        families.add("analytics_database_connections", self._connections())
        families.add("analytics_history_pending", state.history_pending)
        families.add("analytics_paused", reading.pause(state, monotonic) is not None)
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
        if state.evaluated_monotonic is not None:
            since = reading.since_evaluation_seconds(state, monotonic)
            moment = reading.now(state, monotonic).timestamp() - since
            families.add("analytics_last_evaluation_timestamp_seconds", moment)
        self._read_alerts(state, families)
        for (threshold, view_name), value in thresholds(state.limits, self._views()).items():
            families.add("analytics_threshold", value, threshold, view_name)

    def _read_view(self, state: ServiceState, view: ViewState, monotonic: float, families: Families) -> None:
        name = view.view
        if view.age is not None:
            age = reading.age_seconds(state, view, monotonic)
            families.add("analytics_view_age_minutes", None if age is None else age / 60, name)
            if view.age.last_success_at is not None:
                moment = view.age.last_success_at.timestamp()
                families.add("analytics_view_last_success_timestamp_seconds", moment, name)
        families.add("analytics_view_rows", view.rows, name)
        families.add("analytics_view_size_bytes", view.size_bytes, name)
        result = self._last(name)
        if result is None and view.last is not None:
            # After a restart history still knows the last run.
            result = next((item for item in view.last.views if item.view == name), None)
        if result is not None:
            families.add("analytics_refresh_duration_seconds", result.duration_seconds, name)
            families.add("analytics_view_refresh_success", result.success, name)

    def _read_alerts(self, state: ServiceState, families: Families) -> None:
        firing = {(record.alert, record.view) for record in state.alerts if record.state is AlertState.FIRING}
        for alert in Alert:
            for view in self._views() if alert in VIEW_ALERTS else ("",):
                families.add("analytics_alerts_firing", (alert, view) in firing, alert.value, view)


def thresholds(limits: Limits, views: tuple[str, ...]) -> dict[tuple[str, str], float]:
    """Every limit by (name, view); view is "" where the limit is not a view's."""
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
        found["view_age_seconds", view] = reading.max_age_seconds(limits, view)
        found["view_age_critical_seconds", view] = reading.critical_age_seconds(limits, view)
    return found
