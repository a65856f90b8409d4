"""Any value as JSON has it: bounded, finite, on the safe side."""

import math
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

from structlog.tracebacks import ExceptionDictTransformer

from analytics_refreshd.core.redaction import LIMIT_BYTES, cut, redact_error

_ITEMS = 500
_DEPTH = 8
_traceback = ExceptionDictTransformer(show_locals=False, max_frames=20)


def plain(value: object, limit: int = LIMIT_BYTES, depth: int = _DEPTH) -> object:
    """The value as JSON has it: numbers finite or None, times in UTC as RFC 3339, strings of at most `limit` bytes."""
    if value is None or value is True or value is False:
        return value
    if type(value) is str:
        return cut(value, limit)
    if isinstance(value, Enum):
        return plain(value.value, limit, depth)
    if isinstance(value, int):
        # Readers hold numbers as doubles: a larger one would change on the way.
        return value if abs(value) <= 2**53 else str(value)[:40]
    if isinstance(value, float | Decimal):
        number = float(value)
        return round(number, 6) if math.isfinite(number) else None
    if isinstance(value, str):
        return cut(value, limit)
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, BaseException):
        return _exception(value, limit)
    return _plain_collection(value, limit, depth)


def _plain_collection(value: object, limit: int, depth: int) -> object:
    if depth <= 0:
        return "…"
    if is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_ITEMS]
        return {_key(key, limit): plain(item, limit, depth - 1) for key, item in pairs}
    if isinstance(value, Set):
        value = sorted(value, key=str)
    if isinstance(value, list | tuple):
        return [plain(item, limit, depth - 1) for item in value[:_ITEMS]]
    return cut(str(value), limit)


def _key(key: object, limit: int) -> str:
    return key if type(key) is str and len(key) < 40 else cut(str(plain(key, limit, 0)), limit)


def rfc3339(at: datetime) -> str:
    """`2026-03-01T02:14:05.123Z`; a naive time is taken as UTC."""
    aware = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return aware.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _exception(error: BaseException, limit: int) -> object:
    stacks = _traceback((type(error), error, error.__traceback__))
    return [
        {
            "type": stack["exc_type"],
            "message": cut(redact_error(str(stack["exc_value"])), limit),
            "frames": [f"{frame['filename']}:{frame['lineno']} {frame['name']}" for frame in stack["frames"]],
        }
        for stack in stacks
    ]
