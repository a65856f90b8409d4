"""Limits that keep the source easy to read, and what no type checker sees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_refreshd.core import cost_metrics, otel_metrics
from analytics_refreshd.core import metrics as catalogue
from analytics_refreshd.core.metric import Metric
from tests.mutations.catalog import ROOT

SOURCE = ROOT / "src" / "analytics_refreshd"
MODULES = sorted(SOURCE.rglob("*.py"))
MOST_LINES = 300
MOST_FUNCTION_LINES = 60
MOST_PARAMETERS = 8


def _name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_and_functions_are_small(path: Path) -> None:
    """A module has at most 300 lines and a function 60; a constructor has at most eight parameters."""
    assert len(path.read_text().splitlines()) <= MOST_LINES
    for function in _functions(path):
        assert (function.end_lineno or 0) - function.lineno < MOST_FUNCTION_LINES, function.name
        if function.name == "__init__":
            given = function.args
            assert len(given.args) + len(given.kwonlyargs) - 1 <= MOST_PARAMETERS, function.lineno


def _counted() -> Iterator[tuple[str, Metric, set[str | None]]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "count":
                continue
            first = node.args[0] if node.args else None
            name = first.id if isinstance(first, ast.Name) else first.attr if isinstance(first, ast.Attribute) else ""
            metric = next(
                (getattr(each, name) for each in (catalogue, cost_metrics, otel_metrics) if hasattr(each, name)), None
            )
            if isinstance(metric, Metric):
                yield f"{_name(path)}:{node.lineno}", metric, {keyword.arg for keyword in node.keywords}


def test_counters_are_counted_with_their_labels() -> None:
    """`metrics.count(ENTRY, ...)` names every label of the entry, which is a counter, and no other."""
    counted = list(_counted())
    # a run's figures are no ones, and added by name
    added = {metric.name for metric in cost_metrics.RUN_COSTS.values()}
    assert {metric.name for _, metric, _ in counted} | added == {
        metric.name for metric in catalogue.METRICS if metric.kind == "counter" and metric.read_at == "event"
    }
    for place, metric, labels in counted:
        assert (metric.kind, labels) == ("counter", set(metric.labels)), place
