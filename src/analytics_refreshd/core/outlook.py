"""When limits will be reached, as values and in sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from analytics_refreshd.core.disk import SizeSample, disk_forecast
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.trend import LEAST_DAYS, DayFigure, limit_forecast
from analytics_refreshd.core.wording import bytes_in_words, seconds_in_words

_SOON = timedelta(days=30)
_FARTHEST = timedelta(days=365)
"""A date beyond it is not told: nothing goes on like that for so long."""


class Quantity(StrEnum):
    """What has a limit that it may reach."""

    REFRESH_TIME = "refresh_time"
    SUCCESS_RATE = "success_rate"
    DISK = "disk"

    @property
    def unit(self) -> str:
        """What its figures are in."""
        return {"refresh_time": "seconds", "success_rate": "percent", "disk": "bytes"}[self]


class OutlookState(StrEnum):
    """Whether a limit is reached.

    It is expected within a year, or not expected: the figure is not on the way there, or takes longer.
    """

    REACHED = "reached"
    EXPECTED = "expected"
    NOT_EXPECTED = "not_expected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outlook:
    """When one quantity reaches its limit.

    `text` says it all in one sentence. Figures are in the quantity's unit, None while unknown. `reached_at` is None
    unless it is expected. `soon`: within 30 days, or already. `as_of` is when the figures were read, by the server's
    clock.
    """

    quantity: Quantity
    text: str
    limit: float
    state: OutlookState = OutlookState.UNKNOWN
    value: float | None = None
    change_per_day: float | None = None
    reached_at: datetime | None = None
    soon: bool = False
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class LimitDays:
    """Days of what has a limit, oldest first.

    They were read at `read_at` by the server's clock. `refresh_seconds` holds the 95th percentile of each day's runs.
    None where it may not be read.
    """

    read_at: datetime
    refresh_seconds: Sequence[DayFigure] | None
    success_rate_percent: Sequence[DayFigure] | None


class LimitDaysReader(Protocol):
    """Reads the days of what has a limit."""

    def read(self, min_executions: int) -> LimitDays:
        """Read them, as far back as trends go. Raises DatabaseFault.

        Days with fewer than `min_executions` have no success rate.
        """


def day_outlooks(days: LimitDays, limits: Limits) -> tuple[Outlook, ...]:
    """Tell when the refresh time and the success rate reach their limits."""
    runs, rates, now = days.refresh_seconds, days.success_rate_percent, days.read_at
    refresh, rate = unknown_outlooks(limits, "the days before may not be read here")
    return (
        refresh if runs is None else refresh_outlook(runs, limits, now),
        rate if rates is None else rate_outlook(rates, limits, now),
    )


def unknown_outlooks(limits: Limits, why: str) -> tuple[Outlook, Outlook]:
    """Say why nothing is known of refresh time and success rate."""
    return (
        _unknown(Quantity.REFRESH_TIME, _shortest(limits), f"when a refresh takes its interval is unknown: {why}"),
        _unknown(
            Quantity.SUCCESS_RATE,
            limits.success_rate_min_percent,
            f"when the success rate falls to success_rate_min is unknown: {why}",
        ),
    )


def refresh_outlook(days: Sequence[DayFigure], limits: Limits, now: datetime) -> Outlook:
    """Tell when a refresh takes its whole interval.

    `days` hold the 95th percentile of each day's runs, in seconds.
    """
    shortest = _shortest(limits)
    found = limit_forecast(days, shortest, now)
    if found is None:
        return replace(unknown_outlooks(limits, f"fewer than {LEAST_DAYS} days of runs are known")[0], as_of=now)
    change = found.change_per_day
    moves = "" if change is None else f", {seconds_in_words(abs(change))} {'more' if change > 0 else 'less'} each day"
    text = f"19 of 20 runs end within {seconds_in_words(found.value)}{moves}"
    known = Outlook(Quantity.REFRESH_TIME, text, shortest, value=found.value, change_per_day=change)
    return _dated(known, f"the interval of {seconds_in_words(shortest)}", found.seconds_left, now)


def rate_outlook(days: Sequence[DayFigure], limits: Limits, now: datetime) -> Outlook:
    """Tell when the success rate falls to its limit. `days` hold each day's rate in percent."""
    found = limit_forecast(days, limits.success_rate_min_percent, now, upwards=False)
    if found is None:
        return replace(unknown_outlooks(limits, f"fewer than {LEAST_DAYS} days have enough actions")[1], as_of=now)
    change = found.change_per_day
    moves = "" if change is None else f", {abs(change):.2g} points {'more' if change > 0 else 'less'} each day"
    text = f"{found.value:.1f} % of a day's actions succeed{moves}"
    known = Outlook(Quantity.SUCCESS_RATE, text, found.limit, value=found.value, change_per_day=change)
    return _dated(known, f"success_rate_min, {found.limit:g} %,", found.seconds_left, now)


def disk_outlook(sizes: Sequence[SizeSample], limits: Limits, now: datetime) -> Outlook | None:
    """Tell when `disk_bytes` are used up. None where that is not asked for."""
    if limits.disk_bytes is None:
        return None
    found = disk_forecast(sizes, limits.disk_bytes, now)
    if found is None or found.seconds_left is None:
        why = "no size of today is known" if found is None else "fewer than 24 hours of sizes are known"
        return _unknown(Quantity.DISK, limits.disk_bytes, f"when disk_bytes are used up is unknown: {why}")
    grows = found.growth_bytes_per_day
    moves = f", {bytes_in_words(round(grows))} more each day" if grows is not None and grows > 0 else ""
    text = f"the database takes {bytes_in_words(found.database_bytes)}{moves}"
    known = Outlook(Quantity.DISK, text, found.capacity_bytes, value=found.database_bytes, change_per_day=grows)
    measured = sizes[-1].measured_at
    limit = f"disk_bytes, {bytes_in_words(found.capacity_bytes)},"
    return replace(_dated(known, limit, found.seconds_left, now), as_of=measured)


def _shortest(limits: Limits) -> float:
    return limits.shortest_interval_seconds or limits.interval_seconds


def _unknown(quantity: Quantity, limit: float, text: str) -> Outlook:
    return Outlook(quantity, text, limit)


def _dated(known: Outlook, limit: str, seconds_left: float, now: datetime) -> Outlook:
    """Add when the limit is reached. `limit` names it."""
    text = known.text
    if seconds_left <= 0:
        return replace(known, text=f"{text}: {limit} is reached", state=OutlookState.REACHED, soon=True, as_of=now)
    if not math.isfinite(seconds_left):
        words = f"{text}: not on the way to {limit.rstrip(',')}"
        return replace(known, text=words, state=OutlookState.NOT_EXPECTED, as_of=now)
    if seconds_left > _FARTHEST.total_seconds():
        words = f"{text}: {limit} is not reached within a year"
        return replace(known, text=words, state=OutlookState.NOT_EXPECTED, as_of=now)
    left = timedelta(seconds=seconds_left)
    days = round(left / timedelta(days=1))
    when = f"in about {days} days, on {now + left:%Y-%m-%d}" if days > 1 else "within two days"
    return replace(
        known,
        text=f"{text}: {limit} is reached {when}",
        state=OutlookState.EXPECTED,
        reached_at=now + left,
        soon=left <= _SOON,
        as_of=now,
    )
