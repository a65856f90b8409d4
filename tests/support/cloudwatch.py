"""What CloudWatch makes of log lines: the filter patterns that the template uses, metrics, and the alarms' states."""

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Line = Mapping[str, Any]
Match = Callable[[Line], bool]
_TOKEN = re.compile(r'\s*(\{|\}|\(|\)|&&|\|\||!=|>=|<=|=|>|<|\$\.[A-Za-z_]+|"[^"\\*]*"|-?\d+(?:\.\d+)?)')
_ORDER = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}


def pattern(text: str) -> Match:
    """Read a filter pattern for JSON. Raises ValueError on whatever is outside the part of the syntax that we use.

    `&&` beside `||` needs parentheses, so that nothing depends on which of them binds more.
    """
    tokens: list[str] = []
    position = 0
    while position < len(text.rstrip()):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ValueError(f"not understood from here: {text[position:]}")
        tokens.append(token[1])
        position = token.end()
    if len(text) > 1024 or tokens[:1] != ["{"] or tokens[-1:] != ["}"]:
        raise ValueError("a pattern is in braces, and at most 1024 characters long")
    rest = tokens[1:-1]
    found = _expression(rest)
    if rest:
        raise ValueError(f"left over: {rest}")
    return found


def _expression(tokens: list[str]) -> Match:
    parts = [_term(tokens)]
    joint = tokens[0] if tokens and tokens[0] in ("&&", "||") else None
    while tokens and tokens[0] == joint:
        tokens.pop(0)
        parts.append(_term(tokens))
    if tokens and tokens[0] in ("&&", "||"):
        raise ValueError("&& and || without parentheses")
    every = any if joint == "||" else all
    return lambda line: every(part(line) for part in parts)


def _term(tokens: list[str]) -> Match:
    token = tokens.pop(0)
    if token == "(":
        inner = _expression(tokens)
        if tokens.pop(0) != ")":
            raise ValueError("a parenthesis is not closed")
        return inner
    compare, wanted = tokens.pop(0), json.loads(tokens.pop(0))
    if not token.startswith("$."):
        raise ValueError(f"not a field: {token}")
    if compare in ("=", "!="):
        same = compare == "="
        # a field that is missing matches neither way
        return lambda line: line.get(token[2:]) is not None and (line[token[2:]] == wanted) is same
    order = _ORDER[compare]
    return lambda line: isinstance(line.get(token[2:]), int | float) and order(line[token[2:]], wanted)


def resolved(value: Any, given: Mapping[str, Any]) -> Any:
    """A part of a template with its parameters put in."""
    if isinstance(value, list):
        return [resolved(each, given) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return given[value["Ref"]]
    if set(value) == {"Fn::Sub"}:
        return re.sub(r"\$\{(\w+)\}", lambda match: str(given[match[1]]), value["Fn::Sub"])
    return {key: resolved(each, given) for key, each in value.items()}


class CloudWatch:
    """A stack of the template, fed with lines. Every line is a minute of its own, or all lines of one are one."""

    def __init__(self, template: Mapping[str, Any], **given: object) -> None:
        self.given = {name: each.get("Default") for name, each in template["Parameters"].items()} | given
        resources = {name: resolved(each, self.given) for name, each in template["Resources"].items()}
        self.filters = {
            name: each["Properties"] for name, each in resources.items() if each["Type"] == "AWS::Logs::MetricFilter"
        }
        self.alarms = {
            each["Properties"]["AlarmName"]: each["Properties"]
            for each in resources.values()
            if each["Type"] == "AWS::CloudWatch::Alarm"
        }
        self.states = dict.fromkeys(self.alarms, "INSUFFICIENT_DATA")
        self._matches = {name: pattern(each["FilterPattern"]) for name, each in self.filters.items()}

    def published(self, line: Line) -> list[tuple[str, frozenset[tuple[str, str]], float]]:
        """Metric, dimensions and value of whatever a line adds."""
        found = []
        for name, properties in self.filters.items():
            if not self._matches[name](line):
                continue
            (made,) = properties["MetricTransformations"]
            value = made["MetricValue"]
            number = line[value[2:]] if value.startswith("$.") else float(value)
            dimensions = {each["Key"]: line[each["Value"][2:]] for each in made["Dimensions"]}
            assert None not in dimensions.values(), f"{name}: a dimension without a value"
            found.append((made["MetricName"], frozenset(dimensions.items()), number))
        return found

    def minute(self, lines: Iterable[Line]) -> None:
        """Take in the lines of one minute, and judge the alarms that keep their state without data."""
        points = [point for line in lines for point in self.published(line)]
        for name, alarm in self.alarms.items():
            if alarm["TreatMissingData"] != "ignore":
                continue
            wanted = frozenset((each["Name"], each["Value"]) for each in alarm["Dimensions"])
            values = [value for metric, at, value in points if (metric, at) == (alarm["MetricName"], wanted)]
            if values:
                assert (alarm["Statistic"], alarm["ComparisonOperator"]) == ("Minimum", "GreaterThanThreshold")
                self.states[name] = "ALARM" if min(values) > alarm["Threshold"] else "OK"

    def in_alarm(self) -> set[str]:
        """The names of the alarms that are raised."""
        return {name for name, state in self.states.items() if state == "ALARM"}
