"""The JSON Schema of the status document, made from its fields."""

from typing import Any

from analytics_refreshd.observe.status.field import LIST, Field
from analytics_refreshd.observe.status.fields import STATUS_FIELDS

MEMORY_ONLY = "null where `source` is `database`"


def status_schema() -> dict[str, Any]:
    """Return the schema, a draft 2020-12 one."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The status of analytics-refreshd: /status.json, and status --format json",
        **object_schema(STATUS_FIELDS),
    }


def meaning(field: Field[Any]) -> str:
    """Return a field's meaning. It says where only a daemon knows the value."""
    return f"{field.meaning}; {MEMORY_ONLY}" if field.memory_only else field.meaning


def object_schema(fields: tuple[Field[Any], ...]) -> dict[str, Any]:
    """Return the schema of an object with these fields."""
    return {
        "type": "object",
        "required": [field.name for field in fields if not field.optional],
        "properties": {field.name: _field(field) for field in fields},
    }


def _field(field: Field[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = dict(field.kind.schema)
    if field.kind is LIST:
        schema["items"] = object_schema(field.fields)
    elif field.fields:
        schema |= object_schema(field.fields)
    if field.most is not None:
        schema["maxItems"] = field.most
    if field.nullable or field.memory_only:
        if "enum" in schema:
            schema["enum"] = [*field.kind.schema["enum"], None]
        else:
            schema["type"] = [field.kind.schema["type"], "null"]
    return {"description": meaning(field), **schema}
