"""CloudWatch's filters match the lines that the daemon writes, and its alarms follow the daemon's own."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from analytics_refreshd.app.alert_log import log_change
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.observe.log.sink import JsonLog, LineSink, LogSettings
from analytics_refreshd.observe.metrics.gauges import VIEW_ALERTS
from tests.deploy.support import DEPLOY, RULES
from tests.generate.cloudwatch import NOT_FROM_A_LOG
from tests.support.aws import misfits
from tests.support.cloudwatch import CloudWatch, pattern
from tests.support.daemon import Daemon, Settings
from tests.support.installs import make_stretchable, stretch

FILE = DEPLOY / "ecs" / "cloudwatch.json"
TEMPLATE = json.loads(FILE.read_text())
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def stack(database: str = "shop") -> CloudWatch:
    """The template with parameters as a user gives them."""
    return CloudWatch(TEMPLATE, Database=database, WarningTopic="arn:aws:sns:::w", CriticalTopic="arn:aws:sns:::c")


def test_the_template_is_short_enough() -> None:
    """CloudFormation takes a template of 51,200 bytes from the command line."""
    assert len(FILE.read_bytes()) < 51_200


def test_every_filter_can_be_put() -> None:
    """The model of CloudWatch Logs accepts each; a filter has three dimensions at most, and no default beside them."""
    for name, properties in stack().filters.items():
        call = {key[0].lower() + key[1:]: value for key, value in properties.items()} | {"filterName": name}
        (made,) = call["metricTransformations"]
        assert len(made["Dimensions"]) <= 3
        assert "DefaultValue" not in made
        dimensions = {each["Key"]: each["Value"] for each in made["Dimensions"]}
        call["metricTransformations"] = [
            {key[0].lower() + key[1:]: value for key, value in made.items()} | {"dimensions": dimensions}
        ]
        assert misfits("logs", "PutMetricFilter", call) == [], name


def test_every_alarm_can_be_put() -> None:
    """The model of CloudWatch accepts each, and no alarm looks at a metric that no filter makes."""
    made: dict[str, set[frozenset[str]]] = {}
    for properties in stack().filters.values():
        (each,) = properties["MetricTransformations"]
        made.setdefault(each["MetricName"], set()).add(frozenset(one["Key"] for one in each["Dimensions"]))
    for name, alarm in stack().alarms.items():
        assert misfits("cloudwatch", "PutMetricAlarm", alarm) == [], name
        if alarm["Namespace"] != "AWS/ECS":
            assert frozenset(each["Name"] for each in alarm["Dimensions"]) in made[alarm["MetricName"]], name


def test_every_rule_of_prometheus_has_its_alarm() -> None:
    """With the same severity, for each view; what a log cannot tell is named in the guide."""
    rules = [each for group in yaml.safe_load(RULES.read_text())["groups"] for each in group["rules"]]
    wanted = {(each["alert"], each["labels"]["severity"]) for each in rules if "alert" in each}
    found = set()
    for name, alarm in stack().alarms.items():
        severity = {"": "info", "w": "warning", "c": "critical"}["".join(alarm["AlarmActions"])[-1:]]
        found.add((name.split("-")[1], severity))
        assert alarm["OKActions"] == alarm["AlarmActions"]
    assert {each for each in wanted if each[0] not in NOT_FROM_A_LOG} == found
    guide = (DEPLOY / "guides" / "ecs.md").read_text()
    assert [name for name in NOT_FROM_A_LOG if name not in guide] == []
    for alert in VIEW_ALERTS:
        assert {f"shop-{alert}-{view}" for view in VIEWS} <= set(stack().alarms)


def written(tmp_path: Path, *records: tuple[AlertRecord, AlertRecord | None]) -> list[dict[str, Any]]:
    """The lines that the daemon's own functions write of these changes."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        sink = LineSink(file.fileno(), {})
        log = JsonLog(LogSettings(), sink, database="shop", replica="r1")
        for record, before in records:
            log_change(log, record, before)
    return [json.loads(line) for line in path.read_text().splitlines()]


def record(alert: Alert, view: str, state: AlertState, severity: Severity = Severity.WARNING) -> AlertRecord:
    """An alert that began and fired at NOW."""
    return AlertRecord(alert, view, state, severity, NOW, NOW, NOW if state is AlertState.RESOLVED else None)


@pytest.mark.parametrize("alert", [alert for alert in Alert if alert not in NOT_FROM_A_LOG])
def test_each_alert_raises_its_alarm_until_it_ends(alert: Alert, tmp_path: Path) -> None:
    """From the line that it fires to the line that it is over, of its own view and of no other."""
    for view in VIEWS if alert in VIEW_ALERTS else ("",):
        fires, ends = (record(alert, view, state) for state in (AlertState.FIRING, AlertState.RESOLVED))
        begin, end = written(tmp_path, (fires, None), (ends, fires))
        watch = stack()
        name = f"shop-{alert}-{view}" if view else f"shop-{alert}"
        watch.minute([begin])
        assert watch.in_alarm() == {name}
        watch.minute([])
        assert watch.in_alarm() == {name}
        watch.minute([end])
        assert watch.states[name] == "OK"
        assert watch.in_alarm() == set()


def test_an_alert_that_becomes_critical_raises_the_second_alarm(tmp_path: Path) -> None:
    """Escalated is as good as fired; both end together, and another view's end changes neither."""
    view, other = VIEWS[0], VIEWS[1]
    fires = record(Alert.VIEW_STALE, view, AlertState.FIRING)
    rises = record(Alert.VIEW_STALE, view, AlertState.FIRING, Severity.CRITICAL)
    lines = written(
        tmp_path,
        (fires, None),
        (rises, fires),
        (record(Alert.VIEW_STALE, other, AlertState.RESOLVED), None),
        (record(Alert.VIEW_STALE, view, AlertState.RESOLVED, Severity.CRITICAL), rises),
    )
    assert [line["event"] for line in lines[:2]] == ["alert.firing", "alert.escalated"]
    watch = stack()
    name = f"shop-{Alert.VIEW_STALE}-{view}"
    seen = []
    for line in lines:
        watch.minute([line])
        seen.append(watch.in_alarm())
    both = {name, f"{name}-critical"}
    assert seen == [{name}, both, both, set()]


def test_what_fires_and_ends_within_a_minute_is_over(tmp_path: Path) -> None:
    """CloudWatch sees one figure for the minute: the end holds, so that no alarm stays raised for ever."""
    alert = Alert.DATABASE_UNAVAILABLE
    fires, ends = (record(alert, "", state) for state in (AlertState.FIRING, AlertState.RESOLVED))
    watch = stack()
    watch.minute(written(tmp_path, (fires, None), (ends, fires)))
    assert watch.in_alarm() == set()


def test_a_stack_hears_its_own_database_alone(tmp_path: Path) -> None:
    """Two databases may share a log group."""
    (line,) = written(tmp_path, (record(Alert.NO_LEADER, "", AlertState.FIRING), None))
    assert stack("other").published(line) == []
    assert len(stack("shop").published(line)) == 1


@pytest.mark.parametrize(
    "text",
    ['{ $.a = "b" && $.c = "d" || $.e = "f" }', '$.a = "b"', '{ $.a = "b" ', '{ ($.a = "b" }', "{ $.a IS NULL }"],
)
def test_what_the_test_cannot_judge_is_refused(text: str) -> None:
    """A pattern outside the syntax that these tests understand fails here, and not at AWS."""
    with pytest.raises((ValueError, IndexError)):
        pattern(text)


@pytest.mark.slow
def test_a_real_daemons_log_raises_and_ends_an_alarm(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """Its view fails and comes back: the alarm follows, and each run is counted once, with its time."""
    make_stretchable(connection)
    stretch(connection, "recent_failures", message="boom", sqlstate="XX000")
    settings: Settings = {"schedule__interval": "2s", "alerts__stale_for": "0s", "alerts__resolve_after_runs": 1}
    failed = "AnalyticsRefreshFailed"
    with Daemon(dsn, service__name="shop", **settings) as daemon:
        daemon.wait_for("alert.firing", lambda line: line["alert"] == failed)
        stretch(connection, "recent_failures")
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == failed)
        assert daemon.stop() == 0
    watch = stack()
    name = f"shop-{failed}-recent_failures"
    states = []
    for line in daemon.lines:
        watch.minute([line])
        states.append((line["event"], watch.states[name]))
    assert ("alert.firing", "ALARM") in states
    assert states[-1][1] == "OK"
    points = [point for line in daemon.lines for point in watch.published(line)]
    seconds = [value for metric, _, value in points if metric == "run_duration_seconds"]
    assert seconds == [line["duration_seconds"] for line in daemon.events("refresh.finished")]
    outcomes = [dict(dimensions)["outcome"] for metric, dimensions, _ in points if metric == "runs"]
    assert {"partial", "ok"} <= set(outcomes)
    refreshed = sum(metric == "refreshed_runs" for metric, _, _ in points)
    assert refreshed == sum(outcome in ("ok", "partial") for outcome in outcomes)
