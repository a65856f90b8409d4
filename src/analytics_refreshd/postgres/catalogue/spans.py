"""Reads the span of time that somebody asks a query for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from analytics_refreshd.core.errors import RefreshdError

UNITS = {"hours": timedelta(hours=1), "days": timedelta(days=1), "weeks": timedelta(weeks=1)}
NAMES = ("since", "until")


class ParameterError(RefreshdError):
    """A parameter or query name is wrong; the text says what works."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a query covers: `amount` of `parameter`, in whole steps of UTC.

    It ends with the current step. `step` is hours, days or weeks, or None for a window that ends exactly now. `before`
    more steps are read, to compare with earlier time.
    """

    parameter: str
    step: str | None
    before: int = 0

    def bounds(self, amount: float, now: datetime) -> tuple[datetime, datetime]:
        """Return `since` (inclusive) and `until` (exclusive) in UTC; `now` must be aware."""
        at = now.astimezone(UTC)
        length = UNITS[self.parameter] * amount
        if self.step is None:
            return at - length, at
        until = self.start_of_step(at) + UNITS[self.step]
        return until - length - self.earlier, until

    @property
    def earlier(self) -> timedelta:
        """Return how much is read before the window, to compare with it."""
        return UNITS[self.step] * self.before if self.step is not None else timedelta(0)

    def start_of_step(self, at: datetime) -> datetime:
        """Return when the step that contains the UTC time `at` began."""
        if self.step is None:
            return at
        start = at.replace(minute=0, second=0, microsecond=0)
        if self.step != "hours":
            start = start.replace(hour=0)
        if self.step == "weeks":
            start -= timedelta(days=start.weekday())
        return start


def asked_span(
    name: str,
    window: Window | None,
    given: Mapping[str, object],
    now: datetime,
    *,
    most: float,
    only_last: bool,
    ends: bool,
) -> tuple[datetime, datetime, float]:
    """Return since, until and the window's amount for the query `name`.

    `given` has `since`, and perhaps `until`: aware times, or durations back from `now`. Both are moved outwards to
    whole steps. `most` is the longest window, `only_last` whether the query sees no earlier time than that, `ends`
    whether it asks for the end. Raises ParameterError.
    """
    if window is None:
        raise ParameterError(f"{name} covers no span of time: it takes neither --since nor --until")
    if window.parameter in given:
        raise ParameterError(f"give --since and --until, or --{window.parameter}, not both")
    if "until" in given and not ends:
        raise ParameterError(f"{name} asks what happened since a time: it takes no --until")
    if "since" not in given:
        raise ParameterError("--until needs --since")
    at = now.astimezone(UTC)
    since = _moment("since", given["since"], at)
    until = _moment("until", given.get("until", at), at)
    if since >= until:
        raise ParameterError("--since must be before --until, which is now where it is left out")
    try:
        start, end = window.start_of_step(since), window.start_of_step(until)
        if window.step is not None and end < until:
            end += UNITS[window.step]
        earliest = start - window.earlier
    except OverflowError:
        raise ParameterError("--since and --until must be times of the calendar") from None
    unit = UNITS[window.parameter]
    if (end - start) / unit > most:
        raise ParameterError(f"{name} covers at most {most:.15g} {window.parameter}, whole {window.step or 'seconds'}")
    if only_last and (at - start) / unit > most:
        raise ParameterError(f"{name} reads a view that holds the last {most:.15g} {window.parameter} only")
    amount = (end - start) / unit
    return earliest, end, int(amount) if amount == int(amount) else amount


def _moment(name: str, given: object, now: datetime) -> datetime:
    if isinstance(given, timedelta):
        try:
            return now - given
        except OverflowError:
            raise ParameterError(f"--{name} is too far back") from None
    if isinstance(given, datetime) and given.tzinfo is not None:
        return given.astimezone(UTC)
    raise ParameterError(f"--{name} must be a time with its zone, or a duration back")
