"""Read a field of a log line that may hold anything."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

Fields = Mapping[str, object]

_BULKY = ("config", "exception", "description", "text", "lateness_seconds", "isolation")
_OF_A_BAD_RUN = ("views", "started_at", "duration_seconds", "attempts", "reason", "sqlstate", "error", "origin")
_MOST_VIEWS = 500
"""As many as a line of the daemon names."""


def slim(fields: dict[str, object]) -> dict[str, object]:
    """Remove the fields that folding does not read, in place.

    Of a successful run hardly anything is left but the names of its views, of a configuration those as well.
    """
    if "config" in fields and (configured := configured_views(fields)) is not None:
        fields["configured_views"] = sorted(configured)
    refreshed = refreshed_views(fields) if fields.get("outcome") == "ok" else None
    for name in _BULKY:
        fields.pop(name, None)
    if fields.get("outcome") == "ok":
        for name in _OF_A_BAD_RUN:
            fields.pop(name, None)
        if refreshed is not None:
            fields["refreshed_views"] = sorted(refreshed)
    return fields


def refreshed_views(fields: Fields) -> Collection[str] | None:
    """Return the views that a successful run or a summary names.

    None where it names none. So does a run in one transaction, which is of all views.
    """
    views, one_by_one = fields.get("views"), fields.get("isolation", "view") == "view"
    named = [one.get("view") for one in views if isinstance(one, dict)] if isinstance(views, list) else None
    return _names(fields.get("refreshed_views", named if one_by_one else None))


def configured_views(fields: Fields) -> Collection[str] | None:
    """Return the views that a configuration in the log names."""
    config = fields.get("config")
    refresh = config.get("refresh") if isinstance(config, dict) else None
    return _names(fields.get("configured_views", refresh.get("views") if isinstance(refresh, dict) else None))


def _names(value: object) -> Collection[str] | None:
    if not isinstance(value, list):
        return None
    return {name for name in value[:_MOST_VIEWS] if isinstance(name, str) and name} or None


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
