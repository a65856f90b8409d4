"""The gauges that follow from the daemon's status snapshot at the scrape."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from analytics_refreshd.core import cost_metrics
from analytics_refreshd.core import metrics as catalogue
from analytics_refreshd.core.alerts.lifecycle import Alert
from analytics_refreshd.core.evaluating import stuck_seconds
from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.metrics import METRICS
from analytics_refreshd.core.model import Limits, ViewResult
from analytics_refreshd.core.snapshot import Snapshot, ViewSnapshot
from analytics_refreshd.core.staleness import critical_age_seconds, max_age_seconds
from analytics_refreshd.core.unusual import BOUNDS
from analytics_refreshd.core.unusual_metrics import EXPECTED, FAILING_TRIGGER, UNUSUAL
from analytics_refreshd.core.warehouse_metrics import WAREHOUSE_BATCHES, WAREHOUSE_LAG, WAREHOUSE_ROWS

_logger = logging.getLogger(__name__)

# A limit is exported under its own name. These had another before, which rules of other people compare with.
_PUBLISHED = {
    "slow_seconds": "refresh_slow_seconds",
    "success_rate_min_percent": "success_rate_percent_min",
    "latency_p95_max_seconds": "latency_p95_seconds_max",
    "database_unavailable_for_seconds": "database_unavailable_seconds",
    "history_failing_for_seconds": "history_failing_seconds",
    "no_leader_for_seconds": "no_leader_seconds",
}
_FAMILY: dict[str, type[CounterMetricFamily | GaugeMetricFamily]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
}
_OF_A_VIEW = ("max_age_seconds", "critical_age_seconds", "view_interval_seconds", "view_stale_for_seconds")

VIEW_ALERTS = (Alert.VIEW_STALE, Alert.REFRESH_FAILED, Alert.REFRESH_SLOW, Alert.TARGET_UNMEETABLE)


class StateSource(Protocol):
    """Gives the daemon's status snapshot from memory, as `core.ports.Health` does."""

    def snapshot(self) -> Snapshot:
        """The state at this moment."""


class Families:
    """Builds metric families, each with the `database` label first."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._families = {
            metric: _FAMILY[metric.kind](metric.name, metric.help, labels=("database", *metric.labels))
            for metric in METRICS
            if metric.read_at == "scrape" and metric is not catalogue.LOG_LINES_LOST
        }

    def add(self, metric: Metric, value: float | None, *labels: str) -> None:
        """Add a sample. An unknown value gives none, because a 0 would look fresh."""
        if value is not None:
            self._families[metric].add_metric((self._database, *labels), float(value))

    def __iter__(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
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

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe nothing, so that registering does not read the state."""
        return []

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield every family; those without a known value carry no sample."""
        lost_lines = catalogue.LOG_LINES_LOST
        lost = CounterMetricFamily(lost_lines.name, lost_lines.help, labels=("database",))
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
        families.add(catalogue.LEADER, snapshot.leads)
        families.add(catalogue.DATABASE_UP, state.database_up)
        families.add(catalogue.DATABASE_CONNECTIONS, self._connections())
        families.add(catalogue.HISTORY_PENDING, state.history_pending)
        families.add(catalogue.PAUSED, snapshot.pause is not None)
        if state.delta is not None:
            families.add(catalogue.DELTA_ROWS, state.delta.pending_rows)
            families.add(catalogue.FOLD, state.delta.fold_seconds)
            if state.delta.frozen_until is not None:
                families.add(catalogue.FROZEN_UNTIL, state.delta.frozen_until.timestamp())
            families.add(catalogue.LATE_ROWS, state.delta.late_rows)
            if state.delta.verified_at is not None:
                families.add(catalogue.VERIFY_LAST, state.delta.verified_at.timestamp())
            families.add(catalogue.VERIFY_LAST_DIFFERENCES, state.delta.verified_differences)
        if state.retention is not None and state.retention.ok_at is not None:
            families.add(catalogue.RETENTION_LAST, state.retention.ok_at.timestamp())
        if (disk := snapshot.disk) is not None:
            families.add(cost_metrics.DATABASE_SIZE, disk.database_bytes)
            families.add(cost_metrics.DISK_FULL, disk.seconds_left)
        if state.rates is not None:
            families.add(catalogue.SUCCESS_RATE, state.rates.success_rate_percent)
            families.add(catalogue.LATENCY_P95, state.rates.latency_p95_seconds)
            families.add(catalogue.EXECUTIONS, state.rates.executions)
        if state.unusual is not None and snapshot.leads:
            for reading in state.unusual.known_at(snapshot.server_now):
                bounds = (reading.low, reading.expected, reading.high, reading.value)
                for bound, value in zip(BOUNDS, bounds, strict=True):
                    families.add(EXPECTED, value, reading.series, bound)
                families.add(UNUSUAL, reading.unusual, reading.series)
        for rate in state.failing_triggers or () if snapshot.leads else ():
            if (Alert.TRIGGER_FAILING, rate.trigger_id) in snapshot.firing:
                families.add(FAILING_TRIGGER, rate.success_rate_percent, rate.trigger_id)
        if state.warehouse is not None:
            families.add(WAREHOUSE_LAG, state.warehouse.lag_seconds(snapshot.server_now))
            families.add(WAREHOUSE_BATCHES, len(state.warehouse.waiting))
            families.add(WAREHOUSE_ROWS, state.warehouse.rows)
        if state.next_run_at is not None:
            families.add(catalogue.NEXT_RUN, state.next_run_at.timestamp())
        since = snapshot.since_evaluation_seconds
        if since is not None:
            moment = snapshot.now.timestamp() - since
            families.add(catalogue.LAST_EVALUATION, moment)
        families.add(catalogue.EVALUATION_SILENT, snapshot.evaluation_silent_seconds)
        self._read_alerts(snapshot, families)
        for (threshold, view_name), value in thresholds(state.limits, self._views()).items():
            families.add(catalogue.THRESHOLD, value, threshold, view_name)

    def _read_view(self, view: ViewSnapshot, families: Families) -> None:
        name = view.view
        if view.age is not None:
            age = view.age.seconds
            families.add(catalogue.VIEW_AGE, None if age is None else age / 60, name)
            if view.age.last_success_at is not None:
                moment = view.age.last_success_at.timestamp()
                families.add(catalogue.VIEW_LAST_SUCCESS, moment, name)
        families.add(catalogue.VIEW_ROWS, view.rows, name)
        families.add(catalogue.VIEW_SIZE, view.status.size_bytes, name)
        result = self._last(name)
        if result is None and view.last is not None:
            # after a restart history still knows the last run
            result = view.last[1]
        if result is not None:
            families.add(catalogue.REFRESH_DURATION, result.duration_seconds, name)
            families.add(catalogue.VIEW_REFRESH_SUCCESS, result.success, name)
            families.add(cost_metrics.REFRESH_ROWS_CHANGED, result.rows_changed, name)
            for figure, value in (result.cost.known() if result.cost is not None else {}).items():
                families.add(cost_metrics.REFRESH_COSTS[figure], value, name)

    def _read_alerts(self, snapshot: Snapshot, families: Families) -> None:
        firing = snapshot.firing
        for alert in Alert:
            for view in self._views() if alert in VIEW_ALERTS else ("",):
                fires = (alert, view) in firing
                if alert is Alert.TRIGGER_FAILING:
                    fires = any(fired is alert for fired, _ in firing)
                families.add(catalogue.ALERTS_FIRING, fires, alert.value, view)


def thresholds(limits: Limits, views: tuple[str, ...]) -> dict[tuple[str, str], float]:
    """Return every limit by (name, view). View "" stands for the whole database."""
    found: dict[tuple[str, str], float] = {
        (_PUBLISHED.get(limit.name, limit.name), ""): getattr(limits, limit.name)
        for limit in fields(limits)
        if limit.name not in _OF_A_VIEW and getattr(limits, limit.name) is not None
    }
    found["evaluation_stuck_seconds", ""] = stuck_seconds(limits.evaluate_seconds)
    for view in views:
        found["view_age_seconds", view] = max_age_seconds(limits, view)
        found["view_age_critical_seconds", view] = critical_age_seconds(limits, view)
        for name, own in (
            ("view_interval_seconds", limits.view_interval_seconds),
            ("view_stale_for_seconds", limits.view_stale_for_seconds),
        ):
            if view in own:
                found[name, view] = own[view]
    return found
