"""Say which hours of an action type are unusual.

This gives hints: they say where to look, never that something is broken. An hour is compared with the same hour of the
same kind of day (workday or weekend, UTC) in the four weeks before: with the median, and a band from the median
absolute deviation (MAD). One hour alone never counts: two in a row must deviate to the same side.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from analytics_refreshd.core.hour_series import (
    HOUR,
    HourCell,
    Measure,
    Series,
    hour_number,
    past,
    series_of,
    unscaled,
)

FEWEST_DAYS = 6
"""Earlier days that an hour is compared with, at least: the weekends of three weeks."""
BAND_DEVIATIONS = 3.0
"""How wide a band is, in standard deviations to each side."""

BOUNDS = ("lower", "expected", "upper", "value")
"""What is known of a series: its band, what was expected, and what it is."""
MOST_TYPES = 20
"""The busiest action types that are looked at."""

_STANDS = timedelta(hours=3)
_HOURS_AROUND = 6
"""An hour, the one before it, and two before and after these."""
_MAD_TO_SIGMA = 1.4826
_TAIL, _TAIL_DEVIATIONS = 0.95, 1.96
"""Nineteen of twenty values that spread normally lie within so many standard deviations."""
_MOST_DEVIATIONS = 5.0
"""More in one hour count as so many: one extreme hour does not make two."""
_P95_SPREAD = 1.3
"""Standard deviation of the logarithm of a p95, times the root of the count it is of."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How much two hours in a row must deviate: each, and the two together as one.

    `floor` is the least standard deviation on the measure's own scale; of the volume it is a share. `sides` are those
    on which a deviation counts.
    """

    floor: float
    each: float
    together: float
    sides: tuple[int, ...] = (1,)


RULES: Mapping[Measure, Rule] = {
    # all types rise and fall together by chance, so that a type's own fall shows in its share first
    Measure.VOLUME: Rule(floor=0.05, each=2.2, together=4.2, sides=(-1, 1)),
    Measure.SHARE: Rule(floor=0.015, each=1.5, together=3.5, sides=(-1,)),
    Measure.FAILURE_RATE: Rule(floor=0.02, each=2.5, together=5.0),
    Measure.P95: Rule(floor=0.12, each=1.5, together=3.4),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """An action type's measure in one hour, and what was expected.

    `low` and `high` bound the band. `deviations` counts standard deviations from `expected`. `unusual` says whether
    this hour and the one before deviate together.
    """

    action_type: str
    measure: Measure
    hour: datetime
    value: float
    expected: float
    low: float
    high: float
    deviations: float
    unusual: bool

    @property
    def series(self) -> str:
        """The series' name, `measure:action_type`."""
        return f"{self.measure}:{self.action_type}"


@dataclass(frozen=True, slots=True)
class LastHour:
    """The readings of the last whole hour, which began at `hour`."""

    hour: datetime
    readings: tuple[Reading, ...] = ()

    def known_at(self, server_now: datetime) -> tuple[Reading, ...]:
        """Return the readings; none once later hours should have been read."""
        return self.readings if server_now - self.hour < _STANDS else ()


def last_whole_hour(refreshed_at: datetime) -> datetime:
    """Return the begin of the last whole hour before `refreshed_at`."""
    return refreshed_at.replace(minute=0, second=0, microsecond=0) - HOUR


def readings(cells: Iterable[HourCell], hour: datetime) -> list[Reading]:
    """Return each action type's reading of each measure in an hour.

    `hour` is its begin. `cells` cover `FURTHEST_BACK` before it, and it. Left out is what has too few executions or too
    few earlier days.
    """
    number = hour_number(hour)
    # the other hours of the day say nothing of this one
    near = (cell for cell in cells if (hour_number(cell.hour) - number + 3) % 24 < _HOURS_AROUND)
    return [reading for series in series_of(near) if (reading := read(series, hour)) is not None]


def read(series: Series, hour: datetime) -> Reading | None:
    """Return a series' reading in `hour`; None where it says nothing."""
    number, measure = hour_number(hour), series.measure
    around = {at: past(series, at) for at in range(number - 3, number - 3 + _HOURS_AROUND)}
    now = _deviation(series, number, around)
    if now is None:
        return None
    value, expected, sigma = now
    before = _deviation(series, number - 1, around)
    earlier = 0.0 if before is None else (before[0] - before[1]) / before[2]
    deviations = (value - expected) / sigma
    margin = BAND_DEVIATIONS * sigma
    return Reading(
        series.action_type,
        measure,
        hour,
        unscaled(measure, value),
        unscaled(measure, expected),
        unscaled(measure, expected - margin),
        unscaled(measure, expected + margin),
        deviations,
        any(deviates(RULES[measure], side * earlier, side * deviations) for side in RULES[measure].sides),
    )


def deviates(rule: Rule, earlier: float, now: float) -> bool:
    """Return whether two hours in a row deviate enough upwards."""
    together = (min(earlier, _MOST_DEVIATIONS) + min(now, _MOST_DEVIATIONS)) / math.sqrt(2)
    return min(earlier, now) >= rule.each and together >= rule.together


def _deviation(series: Series, number: int, around: Mapping[int, Sequence[float]]) -> tuple[float, float, float] | None:
    """Return value, expected value and standard deviation, on the series' own scale.

    `around` has the earlier values of that hour and of two before and after it.
    """
    value = series.values.get(number, 0.0 if series.measure is Measure.VOLUME else None)
    if value is None or len(around[number]) < FEWEST_DAYS:
        return None
    expected = median(around[number])
    # the hours around it spread alike, and twenty days alone say little of that
    distances: list[float] = []
    for values in (around[at] for at in range(number - 2, number + 3) if around[at]):
        centre = median(values)
        distances += [abs(one - centre) for one in values]
    least = _least_sigma(series.measure, expected, series.counts.get(number, 1))
    return value, expected, max(_spread(distances), least)


def _spread(distances: Sequence[float]) -> float:
    """Return a standard deviation from distances to a median: by the median of them, or by their tail if that is wider.

    What has two modes, as a p95 between quick and slow triggers, spreads more than its MAD says.
    """
    ordered = sorted(distances)
    return max(_MAD_TO_SIGMA * median(ordered), ordered[int(_TAIL * len(ordered))] / _TAIL_DEVIATIONS)


def _least_sigma(measure: Measure, expected: float, count: int) -> float:
    """Return what chance alone makes of an hour with so many executions, and the floor."""
    floor = RULES[measure].floor
    match measure:
        case Measure.VOLUME:
            # of the cube root of a Poisson count
            return math.hypot(floor * expected, 1 / (3 * math.sqrt(max(expected, 1.0))))
        case Measure.P95:
            return math.hypot(floor, _P95_SPREAD / math.sqrt(count))
        case _:
            return math.hypot(floor, math.sqrt(expected * (1 - expected) / count))
