"""Masks what values of a result hold of secrets."""

from collections.abc import Sequence

from analytics_refreshd.core.redaction import redact_json, redact_value
from analytics_refreshd.postgres.catalogue.parameters import Column

REDACTED = ("message", "json")
"""The units of columns whose values come out masked."""


def redacted(columns: tuple[Column, ...], row: Sequence[object], *, messages: bool = True) -> tuple[object, ...]:
    """Mask what messages and JSON hold of secrets. Without `messages`, these stay as stored."""
    if not any(column.unit in REDACTED for column in columns):
        return tuple(row)

    def clean(unit: str, value: object) -> object:
        if value is not None and unit == "message" and messages:
            return redact_value(str(value))
        return redact_json(value) if unit == "json" else value

    return tuple(clean(column.unit, value) for column, value in zip(columns, row, strict=True))
