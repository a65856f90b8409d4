"""Whether a status document is as its published schema says."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import jsonschema

from tests.generate.files import ROOT

SCHEMA: dict[str, Any] = json.loads((ROOT / "deploy" / "guides" / "status-schema.json").read_text(encoding="utf-8"))

_formats = jsonschema.FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).utcoffset() is not None


@_formats.checks("uuid", raises=ValueError)
def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or str(UUID(value)) == value


_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=_formats)


def conforming(document: Any) -> Any:
    """The document, once the schema holds for it and it has no key that the schema lacks."""
    _VALIDATOR.validate(document)
    assert _undescribed(document, SCHEMA) == []
    return document


def _undescribed(value: Any, schema: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return [
            found
            for key, item in value.items()
            for found in (_undescribed(item, known[key], f"{path}.{key}") if key in known else [f"{path}.{key}"])
        ]
    if isinstance(value, list):
        return [found for item in value for found in _undescribed(item, schema.get("items", {}), f"{path}[]")]
    return []
