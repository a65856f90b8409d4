"""How a field of a log line is read when anything may stand in it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

Fields = Mapping[str, object]


def text_of(fields: Fields, name: str) -> str | None:
    """The field where it is a text that says something."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def number_of(fields: Fields, name: str) -> float | None:
    """The field where it is a finite number of a size that time and counts can have."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e12 else None


def count_of(fields: Fields, name: str) -> int | None:
    """The field where it is a count."""
    value = number_of(fields, name)
    return int(value) if value is not None and value >= 0 else None


def moment_of(fields: Fields, name: str) -> datetime | None:
    """The field where it is an RFC 3339 time with a zone."""
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def later(at: datetime, seconds: float) -> datetime | None:
    """`at` plus `seconds`; None beyond the calendar."""
    try:
        return at + timedelta(seconds=seconds)
    except OverflowError:
        return None
