"""When a figure will reach its limit, if it goes on so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from statistics import median

HISTORY_DAYS = 90
"""How far back days tell of a trend."""
LEAST_DAYS = 14

_DAY_SECONDS = 86_400.0
_LEVEL_DAYS = 5
_STRETCHES = (HISTORY_DAYS, 28, LEAST_DAYS)
_FAR, _FAR_SHARE = 6.0, 0.15
"""What is so many times farther from a course than its days are, and by such a share of itself, has left it."""
_CLEAR = 2.5
"""Standard deviations by which rises outnumber falls: days without a trend seldom do so (Mann-Kendall)."""
_CLEARLY_BETTER = 0.85
"""What is left over beside a curve, against what is left over beside a line, for the curve to count."""


@dataclass(frozen=True, slots=True)
class DayFigure:
    """A day's figure; `at` is its noon."""

    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class LimitForecast:
    """How a figure moves towards its limit.

    `value` is the median of the last five days. `change_per_day` is that of now; None where no trend is clear.
    `seconds_left` are infinite where it does not go towards the limit, and 0 where it is beyond.
    """

    value: float
    limit: float
    change_per_day: float | None
    seconds_left: float


@dataclass(frozen=True, slots=True)
class _Course:
    """A line through points, or a curve: what grows by a share of itself, as with the rows of a growing application.

    `now` and `slope` are of the values; of their logarithms where it is `curved`. `beside` is how far half of the
    points are from it.
    """

    now: float
    slope: float
    beside: float
    curved: bool = False

    def at(self, days: float) -> float:
        found = self.now + self.slope * days
        return math.exp(found) if self.curved else found

    @property
    def change(self) -> float:
        return self.at(0.0) * self.slope if self.curved else self.slope

    def days_until(self, limit: float) -> float:
        return ((math.log(limit) if self.curved else limit) - self.now) / self.slope


_Point = tuple[float, float]
"""Days from now, and a value."""


def limit_forecast(
    days: Sequence[DayFigure], limit: float, now: datetime, *, upwards: bool = True
) -> LimitForecast | None:
    """Tell from days, oldest first, when a figure reaches its limit. None with fewer than fourteen.

    The limit is one from below, unless `upwards` is False. Where the figure has left its course, such as after a change
    of the refresh mode, the days before do not count.
    """
    # from here on the limit is above
    sign = 1.0 if upwards else -1.0
    points = [((day.at - now).total_seconds() / _DAY_SECONDS, sign * day.value) for day in days]
    if len([at for at, _ in points if at >= -HISTORY_DAYS]) < LEAST_DAYS:
        return None
    level = median(value for _, value in points[-_LEVEL_DAYS:])
    course = _course(points, level)
    change = None if course is None else sign * course.change
    if level >= sign * limit:
        left = 0.0
    elif course is None or course.slope <= 0:
        left = math.inf
    else:
        left = max(0.0, course.days_until(sign * limit) * _DAY_SECONDS)
    return LimitForecast(sign * level, limit, change, left)


def _course(points: Sequence[_Point], level: float) -> _Course | None:
    """Return the course of the longest stretch that leads to where the figure is; None without a clear trend."""
    level_at = median(at for at, _ in points[-_LEVEL_DAYS:])
    for stretch in _STRETCHES:
        lately = [(at, value) for at, value in points if at >= -stretch]
        if len(lately) < LEAST_DAYS - 1:
            return None
        course = _fitted(lately)
        if abs(course.at(level_at) - level) <= max(_FAR * course.beside, _FAR_SHARE * abs(level)):
            return course if _is_clear(lately) else None
    return None


def _is_clear(points: Sequence[_Point]) -> bool:
    rises = sum((later > earlier) - (later < earlier) for (_, earlier), (_, later) in combinations(points, 2))
    count = len(points)
    return abs(rises) >= _CLEAR * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)


def _fitted(points: Sequence[_Point]) -> _Course:
    now, slope = _line(points)
    line = _Course(now, slope, median(abs(value - now - slope * at) for at, value in points))
    if min(value for _, value in points) <= 0:
        return line
    now, slope = _line([(at, math.log(value)) for at, value in points])
    beside = median(abs(value - math.exp(now + slope * at)) for at, value in points)
    return _Course(now, slope, beside, curved=True) if beside < _CLEARLY_BETTER * line.beside else line


def _line(points: Sequence[_Point]) -> tuple[float, float]:
    """Return value now and slope a day: medians, which single days do not turn (Theil-Sen)."""
    slope = median((later[1] - earlier[1]) / (later[0] - earlier[0]) for earlier, later in combinations(points, 2))
    return median(value - slope * at for at, value in points), slope
