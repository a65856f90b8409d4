"""Metrics: names, labels, what is there from the first scrape, and what must not be."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from analytics_refreshd.core import metrics as catalogue
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.delta import Delta
from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.core.failing_triggers import TriggerRate
from analytics_refreshd.core.hour_series import HOUR, Measure
from analytics_refreshd.core.metrics import METRICS
from analytics_refreshd.core.model import VIEWS, Limits, Outcome, Pause, Rates, Reason, Role, ViewResult, ViewStatus
from analytics_refreshd.core.ports import Metrics
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.unusual import BOUNDS, LastHour, Reading
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from analytics_refreshd.observe.metrics.gauges import VIEW_ALERTS
from tests.support.fakes import FakeHealth
from tests.support.states import NOW, healthy, run_at, view_state
from tests.unit.test_core_warehouse import OUTBOX, WAITING


class Scraped(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Samples by name and labels, `database` left out after it was checked."""

    def value(self, name: str, /, **labels: str) -> float | None:
        return self.get((name, frozenset(labels.items())))

    def names(self) -> set[str]:
        return {name for name, _ in self}

    def labels(self, name: str) -> list[Mapping[str, str]]:
        return [dict(labels) for found, labels in self if found == name]


def scrape(metrics: PrometheusMetrics) -> Scraped:
    samples = Scraped()
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            if sample.name.startswith("analytics_"):
                labels = dict(sample.labels)
                assert labels.pop("database") == "orders"
                samples[sample.name, frozenset(labels.items())] = sample.value
    return samples


def make(state: Snapshot | None = None, **options: object) -> PrometheusMetrics:
    given = {"receivers": ("ops",), "endpoints": ("actions/hourly",)} | options
    metrics = PrometheusMetrics("orders", "0.1.0", VIEWS, **given)  # type: ignore[arg-type]
    if state is not None:
        metrics.watch(FakeHealth(state))
    return metrics


def test_implements_the_port() -> None:
    """The class is what the rest of the daemon asks for."""
    port: Metrics = make()
    assert port is not None


def test_every_described_metric_is_exported_and_no_other() -> None:
    """The table of names, from which the guide's comes, is the truth."""
    text = generate_latest(make(healthy()).registry).decode()
    exported = set(re.findall(r"^# TYPE (analytics_\w+) (\w+)$", text, re.M))
    assert exported == {(metric.name, metric.kind) for metric in METRICS}
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}" in text


def test_every_name_of_the_design_is_there() -> None:
    """The four frozen names, their canonical twins, and the rest."""
    names = {metric.name for metric in METRICS}
    assert names >= {
        "analytics_view_age_minutes",
        "analytics_refresh_duration_seconds",
        "analytics_query_duration_seconds",
        "analytics_success_rate_percent",
        "analytics_view_last_success_timestamp_seconds",
        "analytics_refresh_run_duration_seconds",
        "analytics_query_run_duration_seconds",
        "analytics_view_rows",
        "analytics_view_size_bytes",
        "analytics_view_refresh_success",
        "analytics_refreshes_total",
        "analytics_refresh_failures_total",
        "analytics_runs_total",
        "analytics_runs_skipped_total",
        "analytics_run_retries_total",
        "analytics_cycle_duration_seconds",
        "analytics_run_lateness_seconds",
        "analytics_next_run_timestamp_seconds",
        "analytics_latency_p95_seconds",
        "analytics_threshold",
        "analytics_alerts_firing",
        "analytics_alert_deliveries_total",
        "analytics_alert_delivery_failures_total",
        "analytics_leader",
        "analytics_database_up",
        "analytics_database_reconnects_total",
        "analytics_history_write_failures_total",
        "analytics_history_pending",
        "analytics_clock_steps_total",
        "analytics_clock_skew_total",
        "analytics_config_last_reload_success",
        "analytics_build_info",
        "analytics_paused",
        "analytics_delta_rows",
    }


def test_known_series_exist_from_the_first_scrape() -> None:
    """A counter that appears with its first failure hides that failure from rate()."""
    found = scrape(make())
    for view in VIEWS:
        assert found.value("analytics_refreshes_total", view=view) == 0
        assert found.value("analytics_refresh_failures_total", view=view, reason="lock_timeout") == 0
        assert found.value("analytics_refresh_run_duration_seconds_count", view=view) == 0
    for outcome in Outcome:
        assert found.value("analytics_runs_total", outcome=outcome.value) == 0
    assert found.value("analytics_runs_skipped_total", reason="overlap") == 0
    assert found.value("analytics_alert_deliveries_total", receiver="ops") == 0
    assert found.value("analytics_alert_delivery_failures_total", receiver="ops") == 0
    assert found.value("analytics_query_run_duration_seconds_count", endpoint="actions/hourly") == 0
    assert found.value("analytics_build_info", version="0.1.0") == 1
    assert found.value("analytics_config_last_reload_success") == 1
    assert found.value("analytics_run_retries_total") == 0
    assert found.value("analytics_clock_steps_total") == 0
    assert found.value("analytics_clock_skew_total") == 0


def test_what_an_hour_let_expect_is_exported_while_it_stands() -> None:
    """Band, expectation and value of each series of the last whole hour, by the leader; old ones are not."""
    reading = Reading("rest", Measure.FAILURE_RATE, NOW, 0.2, 0.02, 0.0, 0.1, 6.0, unusual=True)
    hour = NOW.replace(minute=0, second=0) - HOUR
    found = scrape(make(healthy(unusual=LastHour(hour, (reading,)))))
    series = "failure_rate:rest"
    bounds = {"lower": 0.0, "expected": 0.02, "upper": 0.1, "value": 0.2}
    assert {one: found.value("analytics_expected", series=series, bound=one) for one in BOUNDS} == bounds
    assert found.value("analytics_unusual", series=series) == 1
    for state in (
        healthy(unusual=LastHour(hour, (reading,)), role=Role.STANDBY),
        healthy(unusual=LastHour(hour - 2 * HOUR, (reading,))),
        healthy(),
    ):
        assert not {"analytics_expected", "analytics_unusual"} & scrape(make(state)).names()


def test_a_trigger_is_exported_while_its_alert_fires() -> None:
    """By the leader; one that is below the limit and does not fire yet is not."""
    rates = (TriggerRate("t1", 100, 61.25), TriggerRate("t2", 100, 80.5))
    firing = (AlertRecord(Alert.TRIGGER_FAILING, "t1", AlertState.FIRING, Severity.WARNING, NOW),)
    found = scrape(make(healthy(failing_triggers=rates, alerts=firing)))
    name = "analytics_failing_trigger_success_percent"
    assert [found.value(name, trigger=one.trigger_id) for one in rates] == [61.25, None]
    assert found.value("analytics_alerts_firing", alert="AnalyticsTriggerFailing", view="") == 1
    assert name not in scrape(make(healthy(failing_triggers=rates, alerts=firing, role=Role.STANDBY))).names()
    assert scrape(make(healthy())).value("analytics_alerts_firing", alert="AnalyticsTriggerFailing", view="") == 0


@pytest.mark.fault
def test_G11_unknown_is_absent_not_zero() -> None:
    """Before anything was read no gauge claims a value that looks fresh."""
    unknown = view_state(VIEWS[1], age_seconds=None, rows=None)
    state = healthy(rates=Rates(0, None, None), runs=(), next_run_at=None, views=[ViewStatus(VIEWS[0]), unknown])
    found = scrape(make(state))
    for name in ("analytics_view_age_minutes", "analytics_view_last_success_timestamp_seconds"):
        assert found.labels(name) == []
    for name in ("analytics_view_rows", "analytics_refresh_duration_seconds", "analytics_view_refresh_success"):
        assert found.value(name, view=VIEWS[0]) is None
    for name in (
        "analytics_success_rate_percent",
        "analytics_latency_p95_seconds",
        "analytics_next_run_timestamp_seconds",
        "analytics_run_lateness_seconds",
        "analytics_delta_rows",
        "analytics_fold_seconds",
        "analytics_verify_last_timestamp_seconds",
        "analytics_verify_last_differences",
    ):
        assert found.labels(name) == []
    assert found.value("analytics_executions") == 0


def test_the_age_climbs_while_the_loop_hangs() -> None:
    """Age at scrape is the age last evaluated plus the monotonic time since."""
    health, metrics = FakeHealth(healthy()), make()
    metrics.watch(health)
    assert scrape(metrics).value("analytics_view_age_minutes", view=VIEWS[0]) == pytest.approx((150 + 5) / 60)
    health.passed = 3600
    found = scrape(metrics)
    assert found.value("analytics_view_age_minutes", view=VIEWS[0]) == pytest.approx((150 + 5 + 3600) / 60)
    moment = (NOW - timedelta(seconds=150 + 5)).timestamp()
    assert found.value("analytics_view_last_success_timestamp_seconds", view=VIEWS[0]) == moment
    evaluated = found.value("analytics_last_evaluation_timestamp_seconds")
    assert evaluated == pytest.approx((NOW - timedelta(seconds=5)).timestamp())


@pytest.mark.fault
@pytest.mark.parametrize("role", [Role.STANDBY, Role.STARTING, Role.DRAINING])
def test_G06_standbys_export_no_view(role: Role) -> None:
    """A replica that lost the lead keeps no frozen freshness, not even of runs that it made itself."""
    metrics = make(healthy(role=role))
    metrics.run_finished(run_at(1, NOW))
    found = scrape(metrics)
    assert found.value("analytics_leader") == 0
    for metric in METRICS:
        if metric.labels == ("view",) and metric.read_at == "scrape":
            assert found.labels(metric.name) == [], metric.name
    assert scrape(make(healthy())).value("analytics_leader") == 1


def test_a_run_counts_its_views_and_their_failures() -> None:
    """Runs by outcome, refreshes and failures by view, durations as last value and as histogram."""
    metrics = make(healthy())
    metrics.run_finished(run_at(1, NOW, outcome=Outcome.PARTIAL, failed=[VIEWS[2]], seconds=0.7))
    found = scrape(metrics)
    assert found.value("analytics_runs_total", outcome="partial") == 1
    assert found.value("analytics_refreshes_total", view=VIEWS[0]) == 1
    assert found.value("analytics_refresh_failures_total", view=VIEWS[2], reason="data") == 1
    assert found.value("analytics_refresh_failures_total", view=VIEWS[0], reason="data") == 0
    assert found.value("analytics_refresh_duration_seconds", view=VIEWS[0]) == 0.7
    assert found.value("analytics_refresh_run_duration_seconds_sum", view=VIEWS[0]) == 0.7
    assert found.value("analytics_view_refresh_success", view=VIEWS[0]) == 1
    assert found.value("analytics_view_refresh_success", view=VIEWS[2]) == 0
    assert found.value("analytics_run_lateness_seconds") == 0.01
    assert found.value("analytics_view_rows", view=VIEWS[2]) == 12_345


def test_a_run_counts_what_it_cost() -> None:
    """What is known is added up, and a run that does not tell is counted beside it, never as nothing."""
    metrics = make(healthy())
    run = run_at(1, NOW)
    views = (replace(run.views[0], rows_changed=12, cost=Cost(wal_bytes=30)), *run.views[1:])
    for cost in (Cost(100, 20, 3, 0), Cost(wal_bytes=50), None):
        metrics.run_finished(replace(run, cost=cost, views=views))
    found = scrape(metrics)
    assert found.value("analytics_run_wal_bytes_total") == 150
    assert found.value("analytics_run_blocks_hit_total") == 20
    assert found.value("analytics_run_blocks_read_total") == 3
    assert found.value("analytics_run_costs_unknown_total") == 1
    assert found.value("analytics_refresh_rows_changed", view=VIEWS[0]) == 12
    assert found.value("analytics_refresh_wal_bytes", view=VIEWS[0]) == 30
    for name in ("wal_bytes", "blocks_read", "rows_changed"):
        assert found.value(f"analytics_refresh_{name}", view=VIEWS[1]) is None


def test_the_disk_has_a_date_where_it_is_asked_for() -> None:
    """Size and seconds are absent without a capacity, and the seconds while too little is known."""
    sizes = tuple(SizeSample(NOW - timedelta(hours=48 - hour), 1000 + hour) for hour in range(49))
    asked = scrape(make(healthy(limits=Limits(disk_bytes=1096), sizes=sizes)))
    assert asked.value("analytics_database_size_bytes") == 1048
    assert asked.value("analytics_disk_full_seconds") == pytest.approx(48 * 3600)
    young = scrape(make(healthy(limits=Limits(disk_bytes=1096), sizes=sizes[-3:])))
    assert young.value("analytics_database_size_bytes") == 1048
    assert young.labels("analytics_disk_full_seconds") == []
    assert scrape(make(healthy(sizes=sizes))).labels("analytics_database_size_bytes") == []


@pytest.mark.fault
def test_G10_after_a_restart_the_last_run_is_read_from_history() -> None:
    """Last duration, success and last success are there before this process has run anything."""
    found = scrape(make(healthy()))
    assert found.value("analytics_refresh_duration_seconds", view=VIEWS[0]) == pytest.approx(0.3)
    assert found.value("analytics_view_refresh_success", view=VIEWS[0]) == 1
    assert found.value("analytics_view_last_success_timestamp_seconds", view=VIEWS[0]) is not None


def test_each_counting_method_moves_its_own_series() -> None:
    """One call, one series."""
    metrics = make()
    metrics.slot_skipped(Reason.OVERLAP)
    metrics.run_finished(run_at(1, NOW, outcome=Outcome.SKIPPED))
    metrics.count(catalogue.RUN_RETRIES)
    metrics.cycle_finished(1.5)
    metrics.count(catalogue.DATABASE_RECONNECTS)
    metrics.count(catalogue.CLOCK_STEPS)
    metrics.count(catalogue.CLOCK_SKEW)
    metrics.count(catalogue.HISTORY_WRITE_FAILURES)
    metrics.count(catalogue.ALERT_DELIVERIES, receiver="ops")
    metrics.count(catalogue.ALERT_DELIVERY_FAILURES, receiver="ops")
    metrics.probed("actions/hourly", 0.02)
    metrics.count(catalogue.GUARD_TRIPS, guard="rows_collapsed", view=VIEWS[0])
    metrics.config_reloaded(False)
    found = scrape(metrics)
    moved = {
        (name, *sorted(dict(labels).items())): value
        for (name, labels), value in found.items()
        if value and not name.endswith("_bucket")
    }
    assert moved == {
        ("analytics_runs_total", ("outcome", "skipped")): 1,
        ("analytics_runs_skipped_total", ("reason", "overlap")): 1,
        ("analytics_run_retries_total",): 1,
        ("analytics_cycle_duration_seconds_count",): 1,
        ("analytics_cycle_duration_seconds_sum",): 1.5,
        ("analytics_database_reconnects_total",): 1,
        ("analytics_clock_steps_total",): 1,
        ("analytics_clock_skew_total",): 1,
        ("analytics_history_write_failures_total",): 1,
        ("analytics_alert_deliveries_total", ("receiver", "ops")): 1,
        ("analytics_alert_delivery_failures_total", ("receiver", "ops")): 1,
        ("analytics_query_duration_seconds", ("endpoint", "actions/hourly")): 0.02,
        ("analytics_query_run_duration_seconds_count", ("endpoint", "actions/hourly")): 1,
        ("analytics_query_run_duration_seconds_sum", ("endpoint", "actions/hourly")): 0.02,
        ("analytics_guard_trips_total", ("guard", "rows_collapsed"), ("view", VIEWS[0])): 1,
        ("analytics_build_info", ("version", "0.1.0")): 1,
    }
    assert found.value("analytics_config_last_reload_success") == 0


def test_a_probe_without_an_answer_has_no_duration() -> None:
    """The gauge does not keep the last good figure; the histogram keeps what it saw."""
    metrics = make()
    metrics.probed("actions/hourly", None)
    metrics.probed("actions/hourly", 0.02)
    metrics.probed("actions/hourly", None)
    found = scrape(metrics)
    assert found.labels("analytics_query_duration_seconds") == []
    assert found.value("analytics_query_run_duration_seconds_count", endpoint="actions/hourly") == 1


def test_intervals_of_views_are_thresholds_where_there_are_any() -> None:
    """And nothing is said of them otherwise."""
    limits = Limits(view_interval_seconds={VIEWS[0]: 30.0}, shortest_interval_seconds=30.0)
    found = scrape(make(healthy(limits=limits)))
    given = [labels for labels in found.labels("analytics_threshold") if "interval" in labels["name"]]
    assert sorted((labels["name"], labels["view"]) for labels in given) == [
        ("interval_seconds", ""),
        ("shortest_interval_seconds", ""),
        ("view_interval_seconds", VIEWS[0]),
    ]
    found = scrape(make(healthy()))
    given = [labels for labels in found.labels("analytics_threshold") if "interval" in labels["name"]]
    assert [labels["name"] for labels in given] == ["interval_seconds"]


def test_what_waits_for_the_warehouse_is_exported() -> None:
    """Its age by the server's clock, and how much it is; nothing without a warehouse."""
    found = scrape(make(healthy(warehouse=replace(OUTBOX, waiting=(replace(WAITING[0], folded_at=NOW),)))))
    assert found.value("analytics_warehouse_batches") == 1
    assert found.value("analytics_warehouse_rows") == 10
    assert found.value("analytics_warehouse_lag_seconds") is not None
    assert not any(name.startswith("analytics_warehouse") for name in scrape(make(healthy())).names())


def test_thresholds_are_the_configured_limits() -> None:
    """Rules compare with what this daemon was told, by view where a limit is a view's. No published name goes away."""
    limits = Limits(
        interval_seconds=60,
        max_age_seconds={VIEWS[0]: 3600},
        critical_age_seconds={VIEWS[0]: 9000},
        retention_overdue_seconds=7200.0,
        warehouse_behind_seconds=900.0,
        disk_bytes=10**12,
        disk_full_within_seconds=86400.0,
        view_interval_seconds={VIEWS[0]: 30.0},
        view_stale_for_seconds={VIEWS[0]: 30.0},
        shortest_interval_seconds=30.0,
        trigger_success_rate_min_percent=80.0,
    )
    found = scrape(make(healthy(limits=limits)))
    by_name = {labels["name"] for labels in found.labels("analytics_threshold")}
    # one follows from a field of another name
    assert len(by_name) == len(fields(limits)) + 1
    assert by_name >= {
        "view_age_seconds",
        "view_age_critical_seconds",
        "refresh_slow_seconds",
        "success_rate_percent_min",
        "latency_p95_seconds_max",
        "interval_seconds",
        "database_unavailable_seconds",
        "min_executions",
        "history_failing_seconds",
        "no_leader_seconds",
        "failed_after_runs",
        "slow_after_runs",
        "resolve_after_runs",
        "stale_for_seconds",
    }
    assert found.value("analytics_threshold", name="view_age_seconds", view=VIEWS[0]) == 3600
    assert found.value("analytics_threshold", name="view_age_critical_seconds", view=VIEWS[0]) == 9000
    assert found.value("analytics_threshold", name="view_age_seconds", view=VIEWS[1]) == 120
    assert found.value("analytics_threshold", name="view_age_critical_seconds", view=VIEWS[1]) == 240
    assert found.value("analytics_threshold", name="success_rate_percent_min", view="") == 90


def test_alerts_are_0_or_1_for_every_alert_and_view() -> None:
    """A firing alert is 1, a pending or absent one 0, and the series is always there."""
    firing = AlertRecord(Alert.VIEW_STALE, VIEWS[1], AlertState.FIRING, Severity.WARNING, NOW)
    pending = AlertRecord(Alert.NO_LEADER, "", AlertState.PENDING, Severity.WARNING, NOW)
    found = scrape(make(healthy(alerts=(firing, pending))))
    assert found.value("analytics_alerts_firing", alert="AnalyticsViewStale", view=VIEWS[1]) == 1
    assert found.value("analytics_alerts_firing", alert="AnalyticsViewStale", view=VIEWS[0]) == 0
    assert found.value("analytics_alerts_firing", alert="AnalyticsNoLeader", view="") == 0
    assert len(found.labels("analytics_alerts_firing")) == len(VIEW_ALERTS) * len(VIEWS) + len(Alert) - len(VIEW_ALERTS)


def test_pause_delta_and_rates() -> None:
    """A pause counts while it lasts; the backlog and the 24 hours' figures are as read."""
    pause = Pause(NOW - timedelta(hours=1), NOW + timedelta(seconds=10), "upgrade")
    delta = Delta("incremental", 77, NOW, True, 0, 0.18, frozen_until=NOW, late_rows=3)
    health, metrics = FakeHealth(healthy(pause=pause, delta=delta)), make()
    metrics.watch(health)
    found = scrape(metrics)
    assert found.value("analytics_paused") == 1
    assert found.value("analytics_delta_rows") == 77
    assert found.value("analytics_fold_seconds") == 0.18
    assert found.value("analytics_verify_last_timestamp_seconds") == NOW.timestamp()
    assert found.value("analytics_verify_last_differences") == 0
    assert found.value("analytics_frozen_until_timestamp_seconds") == NOW.timestamp()
    assert found.value("analytics_late_rows_total") == 3
    assert found.value("analytics_success_rate_percent") == 98.63
    assert found.value("analytics_latency_p95_seconds") == 0.412
    health.passed = 11
    assert scrape(metrics).value("analytics_paused") == 0


@pytest.mark.fault
def test_G04_a_broken_state_does_not_hide_the_counters(caplog: pytest.LogCaptureFixture) -> None:
    """Where the snapshot cannot be had, counters are served, gauges are absent, each kind of defect is told once."""
    defects = iter([RuntimeError("no state"), RuntimeError("no state"), ValueError("no view")])

    class Broken:
        def snapshot(self) -> Snapshot:
            raise next(defects)

    metrics = make()
    metrics.watch(Broken())
    metrics.count(catalogue.RUN_RETRIES)
    for told in (1, 1, 2):
        found = scrape(metrics)
        assert found.value("analytics_run_retries_total") == 1
        assert found.labels("analytics_leader") == []
        assert [line.levelname for line in caplog.records] == ["ERROR"] * told


@pytest.mark.fault
def test_G05_view_removed_from_the_configuration() -> None:
    """After a reload the series of names that are gone disappear, and the others keep their counts."""
    metrics = make(healthy())
    metrics.run_finished(run_at(1, NOW))
    metrics.probed("actions/hourly", 1)
    metrics.count(catalogue.ALERT_DELIVERIES, receiver="ops")
    metrics.configure(VIEWS[:2], ("triggers/idle",), ())
    found = scrape(metrics)
    for _, labels in found:
        assert dict(labels).get("view", "") in ("", *VIEWS[:2])
        assert dict(labels).get("endpoint", "triggers/idle") == "triggers/idle"
        assert "receiver" not in dict(labels)
    assert found.value("analytics_refreshes_total", view=VIEWS[0]) == 1


@pytest.mark.fault
def test_G12_multiprocess_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of dead processes would be added up: the daemon says what to unset."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/nowhere")
    with pytest.raises(RefreshdError, match="PROMETHEUS_MULTIPROC_DIR"):
        make()


@pytest.mark.fault
def test_H07_label_explosion() -> None:
    """Ten thousand unknown names are one series, `other`."""
    metrics = make(healthy())
    before = len(scrape(metrics))
    for number in range(10_000):
        metrics.probed(f"endpoint-{number}", 0.1)
        metrics.count(catalogue.ALERT_DELIVERIES, receiver=f"receiver-{number}")
        metrics.count(catalogue.GUARD_TRIPS, guard=f"guard-{number}", view=f"view-{number}")
    strange = tuple(ViewResult(f"view-{number}", False, Reason.OTHER) for number in range(10_000))
    metrics.run_finished(replace(run_at(1, NOW), views=strange))
    found = scrape(metrics)
    assert found.value("analytics_refreshes_total", view="other") == 10_000
    assert len(found) - before < 60


def test_log_lines_lost_are_exported() -> None:
    """What the log could not write shows where somebody looks."""
    assert scrape(make(log_lines_lost=lambda: 5)).value("analytics_log_lines_lost_total") == 5


def test_promtool_finds_nothing_but_the_frozen_unit() -> None:
    """`promtool check metrics` complains of analytics_view_age_minutes' unit alone."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    metrics = make(healthy(delta=Delta("incremental", 1)))
    metrics.run_finished(run_at(1, NOW))
    metrics.probed("actions/hourly", 0.2)
    text = generate_latest(metrics.registry)
    result = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    complaints = (result.stderr + result.stdout).decode().strip().splitlines()
    assert [line.split(" ")[0] for line in complaints] == ["analytics_view_age_minutes"], complaints
