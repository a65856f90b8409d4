"""The example routes, judged by Alertmanager's own tool."""

import re

import pytest
import yaml

from tests.deploy.support import DEPLOY, accepted, tool
from tests.deploy.test_prometheus_rules import alerts

EXAMPLE = DEPLOY / "alertmanager" / "alertmanager.yaml"


def test_amtool_accepts_the_example() -> None:
    """Alertmanager would start with it."""
    accepted(tool("amtool"), "check-config", EXAMPLE)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=AnalyticsNoLeader", "severity=critical", "database=orders"), "pager"),
        (("alertname=AnalyticsViewStale", "severity=warning", "database=orders"), "chat"),
        (("alertname=AnalyticsUnusual", "severity=info", "database=orders"), "chat"),
        (("alertname=SomethingElse", "severity=critical"), "chat"),
    ],
)
def test_only_critical_alerts_of_ours_wake_somebody(labels: tuple[str, ...], receiver: str) -> None:
    """Critical goes to the pager, warnings and hints to the chat, and what is not ours is left to the default."""
    output = accepted(tool("amtool"), "config", "routes", "test", f"--config.file={EXAMPLE}", *labels)
    assert output.splitlines()[-1] == receiver


def test_inhibition_names_alerts_that_exist() -> None:
    """A misspelt name would hold nothing back."""
    known = {rule["alert"].removeprefix("Analytics") for rule in alerts()}
    for rule in yaml.safe_load(EXAMPLE.read_text())["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            if matcher.startswith("alertname") and ".+" not in matcher:
                named = re.sub(r'.*Analytics|[()"]', "", matcher).split("|")
                assert set(named) <= known, matcher
        assert "database" in rule["equal"]


def test_whatever_else_fires_holds_a_hint_back() -> None:
    """And a hint holds nothing back, not another hint either."""
    rules = yaml.safe_load(EXAMPLE.read_text())["inhibit_rules"]
    (hints,) = [rule for rule in rules if "severity = info" in rule["target_matchers"]]
    assert hints["source_matchers"] == ['alertname =~ "Analytics.+"', 'severity =~ "warning|critical"']
