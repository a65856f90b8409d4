"""The hours of action types as series of numbers."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

HISTORY = timedelta(days=28)
HOUR = timedelta(hours=1)
FURTHEST_BACK = HISTORY + 3 * HOUR
"""How long before an hour begins the cells that it is compared with."""
FEWEST_EXECUTIONS = 20
"""Executions that an hour needs for its share or its failure rate to mean something."""
FEWEST_SUCCESSES = 30
"""Successes that an hour needs for its p95 to mean something."""


class Measure(StrEnum):
    """What is looked at in each hour. The share is the type's part of all executions of the hour."""

    VOLUME = "volume"
    SHARE = "share"
    FAILURE_RATE = "failure_rate"
    P95 = "p95_seconds"


@dataclass(frozen=True, slots=True)
class HourCell:
    """An action type in one hour. `hour` is its begin. The p95 is that of the successes."""

    hour: datetime
    action_type: str
    executions: int
    failures: int
    successes: int
    p95_seconds: float | None


_FEWEST = {
    Measure.VOLUME: 0,
    Measure.SHARE: FEWEST_EXECUTIONS,
    Measure.FAILURE_RATE: FEWEST_EXECUTIONS,
    Measure.P95: FEWEST_SUCCESSES,
}
_NOTHING = HourCell(datetime.fromtimestamp(0, UTC), "", 0, 0, 0, None)


@dataclass(frozen=True, slots=True)
class Series:
    """One measure of one action type, by hours since 1970.

    `values` are on a scale on which they spread evenly. `counts` are the executions that each value is of.
    """

    action_type: str
    measure: Measure
    values: Mapping[int, float]
    counts: Mapping[int, int]
    first: int


def series_of(cells: Iterable[HourCell]) -> list[Series]:
    """Return every type's series. A type begins with its first hour."""
    by_type: dict[str, dict[int, HourCell]] = defaultdict(dict)
    totals: dict[int, int] = defaultdict(int)
    for cell in cells:
        number = hour_number(cell.hour)
        by_type[cell.action_type][number] = cell
        totals[number] += cell.executions
    found = []
    for action_type, of_type in sorted(by_type.items()):
        first = min(of_type)
        for measure in Measure:
            values: dict[int, float] = {}
            counts: dict[int, int] = {}
            for number, total in totals.items():
                cell = of_type.get(number, _NOTHING)
                count = _count(measure, cell, total)
                if number >= first and count >= _FEWEST[measure]:
                    values[number], counts[number] = _scaled(measure, cell, total), count
            found.append(Series(action_type, measure, values, counts, first))
    return found


def past(series: Series, number: int) -> list[float]:
    """Return the values of that hour on earlier days of its kind."""
    weekend = _is_weekend(number)
    missing = 0.0 if series.measure is Measure.VOLUME else None
    hours = (number - 24 * days for days in range(1, HISTORY.days + 1))
    values = (series.values.get(at, missing) for at in hours if at >= series.first and _is_weekend(at) is weekend)
    return [value for value in values if value is not None]


def hour_number(hour: datetime) -> int:
    """Return the hours since 1970."""
    return int(hour.timestamp()) // 3600


def _is_weekend(number: int) -> bool:
    # 1970 began on a Thursday
    return (number // 24 + 3) % 7 >= 5


def _count(measure: Measure, cell: HourCell, total: int) -> int:
    """Return how many executions a value is of."""
    match measure:
        case Measure.SHARE:
            return total
        case Measure.P95:
            return cell.successes if cell.p95_seconds else 0
        case _:
            return cell.executions


def _scaled(measure: Measure, cell: HourCell, total: int) -> float:
    match measure:
        case Measure.VOLUME:
            return math.cbrt(cell.executions)
        case Measure.SHARE:
            return cell.executions / total
        case Measure.FAILURE_RATE:
            return cell.failures / cell.executions
        case _:
            return math.log(cell.p95_seconds or 1.0)


def unscaled(measure: Measure, value: float) -> float:
    """Return a value of a series as people read it."""
    match measure:
        case Measure.VOLUME:
            return max(0.0, value) ** 3
        case Measure.P95:
            return math.exp(value)
        case _:
            return min(1.0, max(0.0, value))
