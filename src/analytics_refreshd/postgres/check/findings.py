"""What `check` finds: one line each, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`warning` leaves the daemon working; `error` does not."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` is one sentence; `remedy` what to type or to set, None where there is nothing to do."""

    name: str
    level: Level
    text: str
    remedy: str | None = None


def ok(name: str, text: str) -> Finding:
    """All is well."""
    return Finding(name, Level.OK, text)


def warning(name: str, text: str, remedy: str | None = None) -> Finding:
    """Works, and could be better."""
    return Finding(name, Level.WARNING, text, remedy)


def error(name: str, text: str, remedy: str | None = None) -> Finding:
    """Does not work."""
    return Finding(name, Level.ERROR, text, remedy)
