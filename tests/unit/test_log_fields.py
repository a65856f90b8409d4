"""The documented fields of the log: the schema, the guide, and what the code really logs."""

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import jsonschema
import pytest

import analytics_refreshd
from analytics_refreshd.app.run_logger import view_fields
from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Outcome, Reason, ViewResult
from analytics_refreshd.observe.log.fields import COMMON, FIELDS, VIEW_FIELDS
from analytics_refreshd.observe.log.schema import schema
from analytics_refreshd.observe.log.sink import JsonLog, LineSink, LogSettings

_GUIDES = Path(__file__).parents[2] / "deploy" / "guides"
_SOURCE = Path(analytics_refreshd.__file__).parent


def logged() -> Iterator[tuple[str, str, set[str]]]:
    """Every `emit(Event.X, field=…)` in the package: where, the event, the fields."""
    for path in sorted(_SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            for node in ast.walk(function):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                if node.func.attr != "emit" or not node.args:
                    continue
                where = f"{path.relative_to(_SOURCE)}:{node.lineno}"
                fields = {name for keyword in node.keywords for name in _names(keyword, where)} - {"level"}
                for event in _events(node.args[0], function):
                    yield where, event, fields


def _events(given: ast.expr, function: ast.FunctionDef) -> set[str]:
    """The events that `given` may be: named in it, or in what that variable is set to in the same function."""
    sources = [given]
    if isinstance(given, ast.Name):
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == given.id for target in node.targets
            ):
                sources.append(node.value)
    return {item.attr for source in sources for item in ast.walk(source) if _is_event(item)}


def _names(keyword: ast.keyword, where: str) -> set[str]:
    """The field of a keyword; of `**`, the names that are written out in it, as a call's or a dictionary's."""
    if keyword.arg is not None:
        return {keyword.arg}
    found = {item.arg for item in ast.walk(keyword.value) if isinstance(item, ast.keyword) and item.arg}
    for item in ast.walk(keyword.value):
        if isinstance(item, ast.Dict):
            found |= {str(key.value) for key in item.keys if isinstance(key, ast.Constant)}
    assert found, f"{where}: which fields these are can be read nowhere"
    return found


def _is_event(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Event"


def test_every_event_has_its_fields() -> None:
    """The table is complete and names no field twice."""
    assert set(FIELDS) == set(Event)
    for event, fields in FIELDS.items():
        names = [field.name for field in (*COMMON, *fields)]
        assert len(names) == len(set(names)), event


def test_what_is_logged_is_documented() -> None:
    """Every field that the code gives to an event is in that event's table."""
    undocumented = [
        f"{where}: {event} {sorted(fields - {field.name for field in FIELDS[Event[event]]})}"
        for where, event, fields in logged()
        if fields - {field.name for field in FIELDS[Event[event]]}
    ]
    assert undocumented == []


def test_what_is_documented_is_logged() -> None:
    """Every field in an event's table is given to that event somewhere, and every event is logged."""
    given: dict[Event, set[str]] = {event: set() for event in Event}
    seen = set()
    for _, event, fields in logged():
        given[Event[event]] |= fields
        seen.add(Event[event])
    assert seen == set(Event)
    unheard = {event.value: {field.name for field in FIELDS[event]} - given[event] for event in Event}
    assert {event: names for event, names in unheard.items() if names} == {}


def test_a_views_entry_is_documented_both_ways() -> None:
    """What a run's line says of a view, after a success, a failure and a wrong figure, is its table."""
    results = [
        ViewResult(
            "v", True, rows=3, duration_seconds=61.0, reported_seconds=1.0, rows_changed=2, cost=Cost(1, 2, 3, 4)
        ),
        ViewResult("v", False, Reason.DATA, "22012", "division by zero"),
    ]
    assert {name for result in results for name in view_fields(result)} == {field.name for field in VIEW_FIELDS}


def test_a_line_that_the_log_wrote_is_valid(tmp_path: Path) -> None:
    """The schema accepts real lines of every event and refuses an unknown event or outcome."""
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema(), format_checker=jsonschema.FormatChecker())
    descriptor = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    log = JsonLog(LogSettings(level="debug"), LineSink(descriptor, {}), "orders", "host-1")
    for event in Event:
        log.emit(event, **dict.fromkeys([field.name for field in FIELDS[event] if field.kind == "text"], "x"))
    log.emit(Event.REFRESH_FINISHED, outcome=Outcome.OK, views=[{"view": "v", "success": True, "rows": 3}])
    log.emit(Event.LIBRARY_MESSAGE, exception=ValueError("no"))
    os.close(descriptor)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) == len(Event) + 2
    for line in lines:
        validator.validate(line)
    for wrong in (lines[0] | {"event": "no.such"}, lines[-2] | {"outcome": "fine"}, lines[-2] | {"views": [{}]}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(wrong)
