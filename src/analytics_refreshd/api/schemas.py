"""The parts of the OpenAPI document that every endpoint shares."""

from typing import Any

from analytics_refreshd.api.problems import CODES, MEDIA_TYPE

Schema = dict[str, Any]
_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}


def meta() -> Schema:
    """Describe what goes beside the data of an answer."""
    bounds: Schema = {"type": "object", "required": ["since", "until"], "properties": {"since": _TIME, "until": _TIME}}
    properties: Schema = {
        "as_of": {
            **_TIME,
            "description": "Last successful refresh of the oldest view read, or now where rows are; from a warehouse"
            " when its last batch was folded.",
        },
        "generated_at": {"type": "string", "format": "date-time"},
        "stale": {"type": "boolean", "description": "Whether a view that was read is older than its limit."},
        "window": {"anyOf": [bounds, {"type": "null"}]},
        "parameters": {"type": "object", "description": "Those in force, defaults included."},
        "approximate": {"type": "array", "items": {"type": "string"}, "description": "Fields that are not exact."},
        "frozen_until": {**_TIME, "description": "Figures before it are frozen, and stay as rows go; null: none are."},
        "notes": {"type": "array", "items": {"type": "string"}, "description": "Sentences on what the figures mean."},
        "engine": {"type": "string", "enum": ["postgres", "warehouse"], "description": "Who answered."},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def pagination() -> Schema:
    """Describe where a page lies among all rows."""
    properties: Schema = {name: {"type": "integer", "minimum": 0} for name in ("total", "limit", "offset")}
    properties["has_more"] = {"type": "boolean"}
    return {"type": "object", "required": list(properties), "properties": properties}


def problem() -> Schema:
    """Describe the document of an error."""
    properties: Schema = {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "error": {"type": "string", "enum": list(CODES)},
        "message": {"type": "string"},
        "details": {"type": "object"},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def error(text: str) -> Schema:
    """Describe the answer that an error is."""
    return {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
