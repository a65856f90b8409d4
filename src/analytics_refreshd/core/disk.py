"""When the disk will be full, by how the database has grown. PostgreSQL does not tell how much space is free."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from statistics import median

_DAY_SECONDS = 86_400.0
_LEAST_SPAN = timedelta(hours=24)
_OLDEST = timedelta(hours=26)
"""A sample comes with a run, at most once an hour; of a schedule of once a day one is never much older."""
_MOST_POINTS = 60


@dataclass(frozen=True, slots=True)
class SizeSample:
    """How large the whole database was, by the server's clock."""

    measured_at: datetime
    database_bytes: int


@dataclass(frozen=True, slots=True)
class DiskForecast:
    """How fast the database grows, and the time that is left.

    After `seconds_left` the capacity is used up; they are infinite where nothing grows. Growth and seconds are None
    while fewer than 24 hours are known.
    """

    database_bytes: int
    capacity_bytes: int
    growth_bytes_per_day: float | None = None
    seconds_left: float | None = None


def disk_forecast(samples: Sequence[SizeSample], capacity_bytes: int | None, now: datetime) -> DiskForecast | None:
    """Tell from sizes, oldest first, when the capacity is used up. None without a capacity or a recent size."""
    if capacity_bytes is None or not samples or now - samples[-1].measured_at > _OLDEST:
        return None
    last = samples[-1]
    room = capacity_bytes - last.database_bytes
    if room <= 0:
        return DiskForecast(last.database_bytes, capacity_bytes, None, 0.0)
    if last.measured_at - samples[0].measured_at < _LEAST_SPAN:
        return DiskForecast(last.database_bytes, capacity_bytes)
    growth = _growth(samples)
    if growth <= 0:
        return DiskForecast(last.database_bytes, capacity_bytes, growth, math.inf)
    passed = (now - last.measured_at).total_seconds()
    left = max(0.0, room / growth * _DAY_SECONDS - passed)
    return DiskForecast(last.database_bytes, capacity_bytes, growth, left)


def _growth(samples: Sequence[SizeSample]) -> float:
    """Return the median of all pairs' slopes, in bytes a day: one VACUUM FULL or import does not turn it."""
    step = math.ceil(len(samples) / _MOST_POINTS)
    # the newest one always counts
    points = samples[::-1][::step]
    slopes = [
        (one.database_bytes - other.database_bytes) / seconds * _DAY_SECONDS
        for one, other in combinations(points, 2)
        if (seconds := (one.measured_at - other.measured_at).total_seconds()) > 0
    ]
    return median(slopes) if slopes else 0.0
