"""Finds where hours, days, weeks and months begin: hours in UTC, the others in a time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

UNITS = {"hours": timedelta(hours=1), "days": timedelta(days=1), "weeks": timedelta(weeks=1)}
"""How long steps are. Months are of no one length."""
MONTHS = "months"


def floor(step: str, at: datetime, zone: ZoneInfo) -> datetime:
    """Return when the step that contains `at` began."""
    if step == "hours":
        return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    local = at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if step == "weeks":
        local -= timedelta(days=local.weekday())
    if step == MONTHS:
        local = local.replace(day=1)
    return local.astimezone(UTC)


def later(step: str, start: datetime, count: float, zone: ZoneInfo) -> datetime:
    """Return the beginning, `count` steps after that at `start`. Raises OverflowError beyond the calendar."""
    if step == "hours":
        return start + UNITS[step] * count
    if step == MONTHS:
        return _months_later(start.astimezone(zone), int(count)).astimezone(UTC)
    local = start.astimezone(zone) + UNITS[step] * count
    # where the clock leaves midnight out, a day begins later: so its hour is put back
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


def _months_later(local: datetime, count: int) -> datetime:
    year, month = divmod(local.year * 12 + local.month - 1 + count, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    return local.replace(year=year, month=month + 1, day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)


def months_between(start: datetime, end: datetime, zone: ZoneInfo) -> int:
    """Return how many months lie between the beginnings of two."""
    one, other = start.astimezone(zone), end.astimezone(zone)
    return (other.year - one.year) * 12 + other.month - one.month


def odd_offset(since: datetime, until: datetime, zone: ZoneInfo) -> timedelta | None:
    """Return the first offset that is not in whole hours."""
    return next((offset for offset in _offsets(since, until, zone) if offset % UNITS["hours"]), None)


def _offsets(since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[timedelta]:
    at = since
    while at < until:
        yield at.astimezone(zone).utcoffset() or timedelta()
        at += UNITS["days"]
    yield until.astimezone(zone).utcoffset() or timedelta()
