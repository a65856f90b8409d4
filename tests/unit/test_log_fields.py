"""The documented fields of the log: the schema, the guide, and what the code really logs."""

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

import analytics_refreshd
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Outcome
from analytics_refreshd.observe.log_fields import COMMON, FIELDS, guide, schema
from analytics_refreshd.observe.logs import JsonLog, LineSink, LogSettings

_GUIDES = Path(__file__).parents[2] / "deploy" / "guides"
_SOURCE = Path(analytics_refreshd.__file__).parent


def logged() -> Iterator[tuple[str, str, set[str]]]:
    """Every `emit(Event.X, field=…)` in the package: where, the event, the fields."""
    for path in sorted(_SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit"):
                continue
            events = [item.attr for item in ast.walk(node.args[0]) if _is_event(item)] if node.args else []
            fields = {keyword.arg for keyword in node.keywords if keyword.arg not in (None, "level")}
            for event in events:
                yield f"{path.relative_to(_SOURCE)}:{node.lineno}", event, {str(field) for field in fields}


def _is_event(node: ast.AST) -> bool:
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


def test_the_shipped_schema_and_guide_are_the_generated_ones() -> None:
    """`python -m analytics_refreshd.observe.log_fields schema` and `guide` write these files."""
    assert json.loads((_GUIDES / "log-schema.json").read_text()) == json.loads(json.dumps(schema()))
    assert (_GUIDES / "log-events.md").read_text() == guide()


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
