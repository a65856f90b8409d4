"""The JSON Schema of a line of the log."""

from typing import Any

from analytics_refreshd.core.events import MEANING, Event
from analytics_refreshd.observe.log.field import Field
from analytics_refreshd.observe.log.fields import COMMON, FIELDS, SUMMARY_FIELDS, TYPES, VIEW_FIELDS


def _properties(fields: tuple[Field, ...]) -> dict[str, Any]:
    return {field.name: _property(field) for field in fields}


def _property(field: Field) -> dict[str, Any]:
    if field.kind == "views":
        item = {"type": "object", "required": ["view", "success"], "properties": _properties(VIEW_FIELDS)}
        return {"type": "array", "items": item}
    if field.kind == "summaries":
        item = {"type": "object", "required": ["view", "runs"], "properties": _properties(SUMMARY_FIELDS)}
        return {"type": "array", "items": item}
    if field.kind == "exception":
        properties = {"type": {"type": "string"}, "message": {"type": "string"}, "frames": TYPES["texts"]}
        return {"type": "array", "items": {"type": "object", "properties": properties}}
    return dict(TYPES[field.kind])


def schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) for one line. Unknown fields are allowed, unknown events are not."""
    common = _properties(COMMON)
    common["timestamp"] = {"type": "string", "format": "date-time"}
    common["level"] = {"enum": ["debug", "info", "warning", "error"]}
    common["event"] = {"enum": [event.value for event in Event]}
    required = [field.name for field in COMMON[:5]]
    rules = [
        {
            "if": {"properties": {"event": {"const": event.value}}},
            "then": {"description": MEANING[event], "properties": _properties(FIELDS[event])},
        }
        for event in Event
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of analytics-refreshd's log",
        "type": "object",
        "required": required,
        "properties": common,
        "allOf": rules,
    }
