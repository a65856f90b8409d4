"""Reads the span of time that somebody asks a query for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.postgres.catalogue.zones import MONTHS, UNITS, floor, later, months_between

NAMES = ("since", "until")
MONTH = "month"
"""Names one month, for a query over months."""
_MONTH = re.compile(r"([1-9][0-9]{3})-(0[1-9]|1[0-2])")
UTC_ZONE = ZoneInfo("UTC")


class ParameterError(RefreshdError):
    """A parameter or query name is wrong; the text says what works."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a query covers: `amount` of `parameter`, in whole steps.

    It ends with the current step. `step` is hours, days, weeks or months, or None for a window that ends exactly now.
    `before` more steps are read, to compare with earlier time. Months are counted in months alone.
    """

    parameter: str
    step: str | None
    before: int = 0

    @property
    def earlier(self) -> timedelta:
        """Return how much is read before the window, to compare with it."""
        return UNITS[self.step] * self.before if self.step is not None and self.before else timedelta(0)

    def bounds(self, amount: float, now: datetime, zone: ZoneInfo = UTC_ZONE) -> tuple[datetime, datetime]:
        """Return `since` (inclusive) and `until` (exclusive) in UTC; `now` must be aware."""
        at = now.astimezone(UTC)
        if self.step == MONTHS:
            until = later(MONTHS, floor(MONTHS, at, zone), 1, zone)
            return later(MONTHS, until, -amount, zone), until
        length = UNITS[self.parameter] * amount
        if self.step is None:
            return at - length, at
        until = later(self.step, floor(self.step, at, zone), 1, zone)
        # a day in hours is 24 of them, any other one of the calendar
        since = until - length if self.step == "hours" else later("days", until, -(length / UNITS["days"]), zone)
        return later(self.step, since, -self.before, zone), until

    def whole(self, since: datetime, until: datetime, zone: ZoneInfo) -> tuple[datetime, datetime, datetime]:
        """Return the whole steps that hold a stretch.

        They are: since when to read, with the steps `before`; their beginning; their end.
        """
        if self.step is None:
            return since, since, until
        start, end = floor(self.step, since, zone), floor(self.step, until, zone)
        if end < until:
            end = later(self.step, end, 1, zone)
        return later(self.step, start, -self.before, zone), start, end

    def amount(self, start: datetime, end: datetime, zone: ZoneInfo) -> float:
        """Return how many of `parameter` lie between two beginnings of steps."""
        if self.step == MONTHS:
            return months_between(start, end, zone)
        return (end - start) / UNITS[self.parameter]


def zone_of(given: Mapping[str, object]) -> ZoneInfo:
    """Return the time zone `timezone`, UTC without one. Raises ParameterError."""
    name = str(given.get("timezone", "UTC"))
    try:
        return ZoneInfo(name)
    # an unknown name is a KeyError; a folder of the zones, and a name that leads out of it, are others
    except (KeyError, ValueError, OSError):
        raise ParameterError(f"--timezone must be a name such as Europe/Berlin, not {name[:40]!r}") from None


def asked_span(
    name: str,
    window: Window | None,
    given: Mapping[str, object],
    now: datetime,
    *,
    most: float,
    ends: bool,
) -> tuple[datetime, datetime, float]:
    """Return since, until and the window's amount for the query `name`.

    `given` has `since`, and perhaps `until`: times, those without an offset in `timezone`, or durations back from
    `now`. Both are moved outwards to whole steps. A `month` stands for both. `most` is the longest window, `ends`
    whether it asks for the end. Raises ParameterError.
    """
    if window is None:
        raise ParameterError(f"{name} covers no span of time: it takes neither --since nor --until")
    if window.parameter in given:
        raise ParameterError(f"give {_in_words(given)}, or --{window.parameter}, not both")
    zone = zone_of(given)
    if MONTH in given:
        given = _of_month(given, zone)
    if "until" in given and not ends:
        raise ParameterError(f"{name} asks what happened since a time: it takes no --until")
    if "since" not in given:
        raise ParameterError("--until needs --since")
    at = now.astimezone(UTC)
    since = _moment("since", given["since"], at, zone)
    until = _moment("until", given.get("until", at), at, zone)
    if since >= until:
        raise ParameterError("--since must be before --until, which is now where it is left out")
    try:
        earliest, start, end = window.whole(since, until, zone)
    except OverflowError:
        raise ParameterError("--since and --until must be times of the calendar") from None
    amount = window.amount(start, end, zone)
    if amount > most:
        raise ParameterError(f"{name} covers at most {most:.15g} {window.parameter}, whole {window.step or 'seconds'}")
    return earliest, end, int(amount) if amount == int(amount) else amount


def _moment(name: str, given: object, now: datetime, zone: ZoneInfo) -> datetime:
    try:
        if isinstance(given, timedelta):
            return now - given
        if isinstance(given, datetime):
            return (given if given.tzinfo is not None else given.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        raise ParameterError(f"--{name} is too far back") from None
    raise ParameterError(f"--{name} must be a time, or a duration back")


def _in_words(given: Mapping[str, object]) -> str:
    return f"--{MONTH}" if MONTH in given else "--since and --until"


def _of_month(given: Mapping[str, object], zone: ZoneInfo) -> Mapping[str, object]:
    """Return the bounds of the month that is given. Raises ParameterError."""
    if any(name in given for name in NAMES):
        raise ParameterError(f"give --{MONTH}, or --since and --until, not both")
    found = _MONTH.fullmatch(str(given[MONTH]))
    if found is None:
        raise ParameterError(f"--{MONTH} must be a month such as 2026-03")
    try:
        start = datetime(int(found[1]), int(found[2]), 1, tzinfo=zone)
        return {"since": start.astimezone(UTC), "until": later(MONTHS, start, 1, zone)}
    except OverflowError:
        raise ParameterError(f"--{MONTH} must be a month of the calendar") from None
