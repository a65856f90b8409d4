"""When limits will be reached, in sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from analytics_refreshd.core.disk import SizeSample, disk_forecast
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.trend import DayFigure, limit_forecast
from analytics_refreshd.core.wording import bytes_in_words, seconds_in_words

_SOON = timedelta(days=30)
_FARTHEST = timedelta(days=365)
"""A date beyond it is not told: nothing goes on like that for so long."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """One limit's forecast in one sentence. `soon`: it is reached within 30 days, or already."""

    text: str
    soon: bool


def refresh_outlook(days: Sequence[DayFigure], limits: Limits, now: datetime) -> Outlook | None:
    """Tell when a refresh takes its whole interval.

    `days` hold the 95th percentile of each day's runs, in seconds.
    """
    shortest = limits.shortest_interval_seconds or limits.interval_seconds
    found = limit_forecast(days, shortest, now)
    if found is None:
        return None
    interval = seconds_in_words(shortest)
    change = found.change_per_day
    moves = "" if change is None else f", {seconds_in_words(abs(change))} {'more' if change > 0 else 'less'} each day"
    text = f"19 of 20 runs end within {seconds_in_words(found.value)}{moves}"
    return _outlook(text, f"the interval of {interval}", found.seconds_left, now)


def rate_outlook(days: Sequence[DayFigure], limits: Limits, now: datetime) -> Outlook | None:
    """Tell when the success rate falls to its limit. `days` hold each day's rate in percent."""
    found = limit_forecast(days, limits.success_rate_min_percent, now, upwards=False)
    if found is None:
        return None
    change = found.change_per_day
    moves = "" if change is None else f", {abs(change):.2g} points {'more' if change > 0 else 'less'} each day"
    text = f"{found.value:.1f} % of a day's actions succeed{moves}"
    return _outlook(text, f"success_rate_min, {found.limit:g} %,", found.seconds_left, now)


def disk_outlook(sizes: Sequence[SizeSample], limits: Limits, now: datetime) -> Outlook | None:
    """Tell when `disk_bytes` are used up."""
    found = disk_forecast(sizes, limits.disk_bytes, now)
    if found is None or found.seconds_left is None:
        return None
    grows = found.growth_bytes_per_day
    moves = f", {bytes_in_words(round(grows))} more each day" if grows is not None and grows > 0 else ""
    text = f"the database takes {bytes_in_words(found.database_bytes)}{moves}"
    return _outlook(text, f"disk_bytes, {bytes_in_words(found.capacity_bytes)},", found.seconds_left, now)


def _outlook(text: str, limit: str, seconds_left: float, now: datetime) -> Outlook:
    if seconds_left <= 0:
        return Outlook(f"{text}: {limit} is reached", soon=True)
    if not math.isfinite(seconds_left):
        return Outlook(f"{text}: not on the way to {limit.rstrip(',')}", soon=False)
    if seconds_left > _FARTHEST.total_seconds():
        return Outlook(f"{text}: {limit} is not reached within a year", soon=False)
    left = timedelta(seconds=seconds_left)
    days = round(left / timedelta(days=1))
    when = f"in about {days} days, on {now + left:%Y-%m-%d}" if days > 1 else "within two days"
    return Outlook(f"{text}: {limit} is reached {when}", soon=left <= _SOON)
