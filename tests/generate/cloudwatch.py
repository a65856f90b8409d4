"""CloudWatch's metrics and alarms as a CloudFormation template, from the rules of Prometheus and the runbooks."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from analytics_refreshd.core.alerts.lifecycle import Alert, Severity
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.observe.metrics.gauges import VIEW_ALERTS

NAMESPACE = "AnalyticsRefreshd"
NOT_FROM_A_LOG = {
    "AnalyticsApiDown": "the image has no API",
    "AnalyticsApiErrors": "the same; and requests that succeed are not logged, so no share can be taken",
    "AnalyticsTriggerFailing": "its alerts are as many as triggers fail, and an alarm is one",
    "AnalyticsTwoLeaders": "who leads now is a state, and a log tells of changes",
    "AnalyticsVerificationOverdue": "the nightly comparison logs nothing: watch the exit code of its task",
}
"""Rules of Prometheus without an alarm."""
_HEAD = (
    "Metrics and alarms of analytics-refreshd on ECS, from its log: deploy/guides/ecs.md. One stack for each database."
)
_PARAMETERS = {
    "Database": ("String", None, "The daemon's [service] name."),
    "LogGroup": ("String", "/ecs/analytics-refreshd", "Where awslogs writes."),
    "Cluster": ("String", "default", "Of ECS."),
    "Service": ("String", "analytics-refreshd", "Of ECS."),
    "Tasks": ("Number", 2, "How many the service runs."),
    "SilentPeriods": ("Number", 4, "Times five minutes without a refresh before that is an alarm."),
    "WarningTopic": ("String", None, "ARN of the topic of SNS for what waits for the morning."),
    "CriticalTopic": ("String", None, "ARN of the topic of SNS for what wakes somebody."),
}
_DOWN = "AnalyticsRefreshdDown"
_TASKS = "aws ecs describe-services, aws ecs describe-tasks"
_LOGS = "aws logs tail, with the log group"
_DATABASE = {"Name": "database", "Value": {"Ref": "Database"}}


def cloudwatch(rules: Path, runbooks: Path) -> str:
    """Return the template, in JSON."""
    document = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": _HEAD,
        "Parameters": {
            name: {"Type": kind, **({} if default is None else {"Default": default}), "Description": text}
            for name, (kind, default, text) in _PARAMETERS.items()
        },
        "Resources": dict(_filters()) | dict(_alarms(_Rules(rules, runbooks))),
    }
    return json.dumps(document, indent=1) + "\n"


class _Rules:
    """What the rules and the runbooks say of an alert."""

    def __init__(self, rules: Path, runbooks: Path) -> None:
        listed = [rule for group in yaml.safe_load(rules.read_text("utf-8"))["groups"] for rule in group["rules"]]
        self._rules = [rule for rule in listed if "alert" in rule]
        self._runbooks = runbooks

    def severities(self, alert: str) -> list[Severity]:
        """Both where the alert's severity can rise, the lower one first."""
        found = {Severity(rule["labels"]["severity"]) for rule in self._rules if rule["alert"] == alert}
        return [severity for severity in Severity if severity in found]

    def text(self, alert: str, view: str = "") -> str:
        """What the alert means, the next command, and where the rest is."""
        rule = next(rule for rule in self._rules if rule["alert"] == alert)
        means = re.search(r"\*\*Means\.\*\* (.*?)\n\n", (self._runbooks / f"{alert}.md").read_text("utf-8"), re.DOTALL)
        command = re.search(r"Next: (.*)", rule["annotations"]["description"])
        assert means is not None, alert
        assert command is not None, alert
        next_command = command[1].replace("{{ $labels.view }}", view)
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", means[1].replace("`", ""))
        first = re.split(r"(?<=\.) ", " ".join(plain.split()))[0]
        return f"{first} {self._rest(alert, _LOGS if 'journalctl' in next_command else next_command)}"

    def down(self, means: str) -> str:
        """The same of the alert that no daemon can raise, which means something else here."""
        return f"{means} {self._rest(_DOWN, _TASKS)}"

    def _rest(self, alert: str, next_command: str) -> str:
        rule = next(rule for rule in self._rules if rule["alert"] == alert)
        return f"Next: {next_command}. Runbook: {rule['annotations']['runbook_url']}"


def _filters() -> Iterator[tuple[str, dict[str, Any]]]:
    """A metric filter for each thing that a line tells; every one looks at this database's lines alone."""
    of_views = " || ".join(f'$.alert = "{alert}"' for alert in VIEW_ALERTS)
    of_database = " && ".join(f'$.alert != "{alert}"' for alert in VIEW_ALERTS)
    begins = '($.event = "alert.firing" || $.event = "alert.escalated")'
    ends = '($.event = "alert.resolved")'
    critical = f'{begins} && ($.severity = "{Severity.CRITICAL}")'
    view = {"alert": "$.alert", "view": "$.view"}
    yield "ViewAlertFires", _filter(f"{begins} && ({of_views})", "alert_firing", "1", view)
    yield "ViewAlertEnds", _filter(f"{ends} && ({of_views})", "alert_firing", "0", view)
    yield "ViewAlertIsCritical", _filter(f"{critical} && ({of_views})", "alert_critical", "1", view)
    yield "ViewCriticalAlertEnds", _filter(f"{ends} && ({of_views})", "alert_critical", "0", view)
    yield "AlertFires", _filter(f"{begins} && ({of_database})", "alert_firing", "1", {"alert": "$.alert"})
    yield "AlertEnds", _filter(f"{ends} && ({of_database})", "alert_firing", "0", {"alert": "$.alert"})
    run = '($.event = "refresh.finished")'
    good = '($.outcome = "ok" || $.outcome = "partial")'
    yield "Refreshed", _filter(f"{run} && {good}", "refreshed_runs", "1", {})
    yield "RefreshedInSummaries", _filter('($.event = "refresh.summary")', "refreshed_runs", "$.runs", {})
    yield "Runs", _filter(run, "runs", "1", {"outcome": "$.outcome"})
    yield "RunSeconds", _filter(run, "run_duration_seconds", "$.duration_seconds", {}, "Seconds")
    yield (
        "LatenessSeconds",
        _filter(f"{run} && $.lateness_seconds >= 0", "run_lateness_seconds", "$.lateness_seconds", {}, "Seconds"),
    )
    yield "RowsLate", _filter('($.event = "rows.late")', "late_rows", "$.rows", {}, "Count")


def _filter(
    pattern: str, metric: str, value: str, dimensions: Mapping[str, str], unit: str = "Count"
) -> dict[str, Any]:
    here = {"Fn::Sub": f'{{ ($.database = "${{Database}}") && {pattern} }}'}
    keys = {"database": "$.database", **dimensions}
    transformation = {
        "MetricNamespace": NAMESPACE,
        "MetricName": metric,
        "MetricValue": value,
        "Unit": unit,
        "Dimensions": [{"Key": key, "Value": field} for key, field in keys.items()],
    }
    properties = {
        "LogGroupName": {"Ref": "LogGroup"},
        "FilterPattern": here,
        "MetricTransformations": [transformation],
    }
    return {"Type": "AWS::Logs::MetricFilter", "Properties": properties}


def _alarms(rules: _Rules) -> Iterator[tuple[str, dict[str, Any]]]:
    for alert in Alert:
        if alert in NOT_FROM_A_LOG:
            continue
        for view in VIEWS if alert in VIEW_ALERTS else ("",):
            yield from _of_alert(rules, alert, view)
    tasks = {
        "Namespace": "AWS/ECS",
        "MetricName": "CPUUtilization",
        # one sample for each task and minute, as the documentation of ECS counts running tasks
        "Statistic": "SampleCount",
        "Dimensions": [
            {"Name": "ClusterName", "Value": {"Ref": "Cluster"}},
            {"Name": "ServiceName", "Value": {"Ref": "Service"}},
        ],
        "ComparisonOperator": "LessThanThreshold",
        "TreatMissingData": "breaching",
        "Period": 60,
    }
    all_gone = rules.down("No task of the service runs: nobody refreshes and nobody watches.")
    yield _DOWN, _alarm(_DOWN, all_gone, Severity.CRITICAL, tasks | {"Threshold": 1, "EvaluationPeriods": 2})
    one_gone = rules.down("A task of the service is missing for 15 minutes: until it is back nobody stands by.")
    some = tasks | {"Threshold": {"Ref": "Tasks"}, "EvaluationPeriods": 15}
    yield f"{_DOWN}Replica", _alarm(f"{_DOWN}-replica", one_gone, Severity.WARNING, some)
    silent = {
        "Namespace": NAMESPACE,
        "MetricName": "refreshed_runs",
        "Statistic": "Sum",
        "Dimensions": [_DATABASE],
        "ComparisonOperator": "LessThanThreshold",
        "Threshold": 1,
        "TreatMissingData": "breaching",
        "Period": 300,
        "EvaluationPeriods": {"Ref": "SilentPeriods"},
    }
    why = rules.down("No run has refreshed a view, or no log arrives: then no alarm made of the log can be believed.")
    yield f"{_DOWN}Silent", _alarm(f"{_DOWN}-silent", why, Severity.CRITICAL, silent)


def _of_alert(rules: _Rules, alert: Alert, view: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the daemon's own verdict says: it stays as it is until a line says otherwise."""
    names = {"alert": alert.value} | ({"view": view} if view else {})
    words = "".join(word.capitalize() for word in view.split("_"))
    severities = rules.severities(alert)
    for severity in severities:
        rises = len(severities) > 1 and severity is Severity.CRITICAL
        edge = {
            "Namespace": NAMESPACE,
            "MetricName": "alert_critical" if rises else "alert_firing",
            # where an alert fires and ends within one minute, its end is what holds
            "Statistic": "Minimum",
            "Dimensions": [_DATABASE, *({"Name": key, "Value": value} for key, value in names.items())],
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": 0,
            "TreatMissingData": "ignore",
            "Period": 60,
            "EvaluationPeriods": 1,
        }
        name = "-".join([*names.values(), *(["critical"] if rises else [])])
        identifier = f"{alert.value}{words}{'Critical' if rises else ''}"
        yield identifier, _alarm(name, rules.text(alert, view), severity, edge)


def _alarm(name: str, text: str, severity: Severity, metric: Mapping[str, Any]) -> dict[str, Any]:
    # a hint is looked at, and told to nobody
    topic = [] if severity is Severity.INFO else [{"Ref": f"{severity.value.capitalize()}Topic"}]
    properties = {
        "AlarmName": {"Fn::Sub": f"${{Database}}-{name}"},
        "AlarmDescription": text,
        **metric,
        "AlarmActions": topic,
        "OKActions": topic,
    }
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}
