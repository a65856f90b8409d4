"""Read single values: durations, and names that become SQL.

Also holds what every section has in common.
"""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from analytics_refreshd.core.names import split_name

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)\s*")
_DURATION = re.compile(rf"\s*(?:{_PIECE.pattern})+")
_HOST_NAME = re.compile(r"\.?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_LONGEST = timedelta(days=3650)
"""A longer one is a typing mistake, and a time that far away may be beyond the calendar."""


class Section(BaseModel):
    """Refuse unknown keys, and show no value in an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)


def parse_duration(value: object) -> timedelta:
    """Read a duration like `"5m"`, `"1h 30m"` or `"250ms"`.

    A timedelta is returned as it is. Raises ValueError for anything else, also for a bare number, and for more than ten
    years.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and _DURATION.fullmatch(value):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(value))
        if seconds > _LONGEST.total_seconds():
            raise ValueError('is too long: ten years, "3650d", at most')
        return timedelta(seconds=seconds)
    raise ValueError('is not a duration: write it like "5m", "30s" or "1h30m"')


def between(least: str, most: str = "3650d") -> AfterValidator:
    """Return a validator of a duration's limits, both inclusive.

    It reports a value in the configuration's words.
    """
    lowest, highest = parse_duration(least), parse_duration(most)

    def check(value: timedelta) -> timedelta:
        if value < lowest:
            raise ValueError(f'must be at least "{least}"')
        if value > highest:
            raise ValueError(f'must be at most "{most}"')
        return value

    return AfterValidator(check)


def _over_zero(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be over zero")
    return value


def _identifier(value: str) -> str:
    split_name(value)
    return value


def _schema_name(value: str) -> str:
    if split_name(value)[0] is not None:
        raise ValueError("must be the name of one schema, without a dot")
    return value


def _view_name(value: str) -> str:
    if split_name(value)[0] is not None:
        raise ValueError("must be a name without its schema: views are looked for in database.schema")
    return value


def _host_name(value: str) -> str:
    if not _HOST_NAME.fullmatch(value):
        raise ValueError("must be a name without scheme and port; with a dot before it, for all names below")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_over_zero)]
Identifier = Annotated[str, AfterValidator(_identifier)]
SchemaName = Annotated[str, AfterValidator(_schema_name)]
HostName = Annotated[str, AfterValidator(_host_name)]
ViewName = Annotated[str, AfterValidator(_view_name)]
"""A name without its schema, as it is in the functions' rows, in locks and in every metric."""
