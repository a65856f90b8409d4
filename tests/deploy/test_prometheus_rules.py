"""The rules file, judged by Prometheus' own tool and against what the daemon exports."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics_refreshd.core.alerts.lifecycle import Alert, Severity
from analytics_refreshd.core.api_metrics import API_METRICS
from analytics_refreshd.core.metrics import METRICS
from analytics_refreshd.core.model import Limits
from analytics_refreshd.observe.metrics.gauges import thresholds
from tests.deploy.support import DEPLOY, RULES, accepted, tool

_LABELS = {metric.name: metric.labels for metric in METRICS}
_API_LABELS = {metric.name: ("process", *metric.labels) for metric in API_METRICS}

UNIT_TESTS = sorted(Path(__file__).parent.glob("analytics-refreshd.rules*.test.yaml"))
PROMETHEUS_ALONE = {
    "AnalyticsApiDown",
    "AnalyticsApiErrors",
    "AnalyticsRefreshdDown",
    "AnalyticsTwoLeaders",
    "AnalyticsVerificationOverdue",
}
_METRIC = re.compile(r"(?<![:\w])analytics_[a-z0-9_]+(?![:\w])")
_SELECTOR = re.compile(r"(?<![:\w])(analytics_[a-z0-9_]+)\{([^}]*)\}")


def rules() -> list[dict[str, Any]]:
    """Every rule, recording and alerting."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Every alerting rule."""
    return [rule for rule in rules() if "alert" in rule]


def exported() -> set[str]:
    """Every name that a scrape of the daemon or the API can contain."""
    found = set()
    for metric in (*METRICS, *API_METRICS):
        found.add(metric.name)
        if metric.kind == "histogram":
            found |= {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
    return found


def expressions() -> list[str]:
    """Every expression, those inside annotations included."""
    return [str(rule["expr"]) for rule in rules()] + [
        text for rule in alerts() for text in rule["annotations"].values() if "query" in text
    ]


def test_promtool_finds_nothing() -> None:
    """The rules are valid, and no two would overwrite each other."""
    accepted(tool("promtool"), "check", "rules", "--lint=all", RULES)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_alert_fires_and_stays_silent_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """promtool runs the unit tests beside this file."""
    # Go collects garbage for a third of that time where it may not let some more pile up
    monkeypatch.setenv("GOGC", "800")
    names = (each.name for each in UNIT_TESTS)
    accepted(tool("promtool"), "test", "rules", *names, cwd=Path(__file__).parent, seconds=550.0)


def test_the_unit_tests_see_every_alert_fire_and_every_alert_silent() -> None:
    """No alert is added without a test of both."""
    tests = [test for each in UNIT_TESTS for test in yaml.safe_load(each.read_text())["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in alerts()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


def test_prometheus_raises_what_the_daemon_raises_and_what_only_it_can_see() -> None:
    """The two paths to a page use one set of names."""
    assert {rule["alert"] for rule in alerts()} == {alert.value for alert in Alert} | PROMETHEUS_ALONE


def test_every_metric_in_a_rule_is_exported() -> None:
    """A rule on a misspelt metric would never fire."""
    used = {name for expression in expressions() for name in _METRIC.findall(expression)}
    assert used - exported() == set()


def test_every_label_in_a_rule_is_exported() -> None:
    """A selector on a label that does not exist would never match."""
    for expression in expressions():
        for name, matchers in _SELECTOR.findall(expression):
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'\\?"[^"]*"|%q', "", matchers)))
            known = {*_LABELS.get(name, ()), *_API_LABELS.get(name.removesuffix("_count"), ())}
            assert used <= {"database", *known}, f"{name}{{{matchers}}}"


def test_every_threshold_in_a_rule_is_exported() -> None:
    """A comparison with a limit that nobody exports would never hold."""
    known = {name for name, _ in thresholds(Limits(warehouse_behind_seconds=900.0), ("a_view",))}
    used = {
        name for expression in expressions() for name in re.findall(r'analytics_threshold\{name=\\?"(\w+)', expression)
    }
    assert used
    assert used <= known


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    """Severity, summary, description with the next step, and a runbook that exists."""
    assert rule["labels"]["severity"] in set(Severity)
    assert rule["annotations"]["summary"]
    assert "Next: " in rule["annotations"]["description"]
    name = f"{rule['alert']}.md"
    assert rule["annotations"]["runbook_url"].endswith(f"/{name}")
    assert (DEPLOY / "runbooks" / name).exists()


def test_every_rule_is_a_databases_own() -> None:
    """Every rule aggregates by database, so that one database never hides another."""
    for rule in rules():
        expression = str(rule["expr"])
        aggregated = re.search(r"by \(database(, \w+)*\)", expression) or "database_view:" in expression
        assert aggregated or expression.startswith("absent("), expression


def test_every_runbook_has_an_alert() -> None:
    """No page is left behind by an alert that is gone, and the table of contents lists each."""
    pages = {path.stem for path in (DEPLOY / "runbooks").glob("Analytics*.md")}
    assert pages == {rule["alert"] for rule in alerts()}
    contents = (DEPLOY / "runbooks" / "README.md").read_text()
    assert [page for page in sorted(pages) if f"[{page}]({page}.md)" not in contents] == []
