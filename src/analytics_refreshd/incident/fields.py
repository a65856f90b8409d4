"""Read a field of a log line that may hold anything."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

Fields = Mapping[str, object]


def text_of(fields: Fields, name: str) -> str | None:
    """Return the field if it is a text that is not empty."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def number_of(fields: Fields, name: str) -> float | None:
    """Return the field if it is a number under 10**12."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e12 else None


def count_of(fields: Fields, name: str) -> int | None:
    """Return the field if it is a count."""
    value = number_of(fields, name)
    return int(value) if value is not None and value >= 0 else None


def moment_of(fields: Fields, name: str) -> datetime | None:
    """Return the field if it is an RFC 3339 time with zone."""
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def later(at: datetime, seconds: float) -> datetime | None:
    """Return `at` plus `seconds`, or None beyond the calendar."""
    try:
        return at + timedelta(seconds=seconds)
    except OverflowError:
        return None
