"""What is unusual: the same hour of earlier days, a band, two hours in a row."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analytics_refreshd.core.hour_series import HOUR, HourCell, Measure, series_of
from analytics_refreshd.core.unusual import LastHour, Reading, Rule, deviates, last_whole_hour, read, readings

AT = datetime(2026, 3, 25, 14, tzinfo=UTC)
"""Two o'clock on a Wednesday."""
PER_HOUR = 600.0


def _even(days: int = 28, **of_now: Any) -> list[HourCell]:
    """A type that does the same in every hour for so many days, but for `of_now` in the last two."""
    cells = [HourCell(AT - HOUR * number, "rest", 100, 2, 98, 0.5) for number in range(days * 24)]
    return [replace(cell, **of_now) if cell.hour > AT - 2 * HOUR else cell for cell in cells]


def _found(cells: list[HourCell]) -> dict[str, Reading]:
    return {reading.series: reading for reading in readings(cells, AT)}


def test_even_traffic_is_as_expected() -> None:
    """Value and expectation agree, within a band that has a floor."""
    found = _found(_even())
    assert set(found) == {"volume:rest", "share:rest", "failure_rate:rest", "p95_seconds:rest"}
    for reading in found.values():
        assert not reading.unusual
        assert reading.value == pytest.approx(reading.expected)
        assert reading.low <= reading.expected <= reading.high
    assert found["volume:rest"].expected == pytest.approx(100)
    assert found["failure_rate:rest"].low == 0.0
    assert 0.08 < found["failure_rate:rest"].high < 0.12
    assert 0.2 < found["p95_seconds:rest"].low < 0.5 < found["p95_seconds:rest"].high < 1.2


@pytest.mark.parametrize(
    ("series", "of_now"),
    [
        ("failure_rate:rest", {"failures": 25, "successes": 75}),
        ("p95_seconds:rest", {"p95_seconds": 1.5}),
        ("volume:rest", {"executions": 30, "failures": 1, "successes": 29}),
        ("volume:rest", {"executions": 300, "failures": 6, "successes": 294}),
    ],
)
def test_two_hours_in_a_row_are_unusual(series: str, of_now: dict[str, Any]) -> None:
    """And one is not, however far it is off."""
    assert [one for one, reading in _found(_even(**of_now)).items() if reading.unusual] == [series]
    once = [cell if cell.hour < AT else replace(cell, **of_now) for cell in _even()]
    assert not any(reading.unusual for reading in _found(once).values())


def test_better_is_not_unusual() -> None:
    """Fewer failures and quicker answers are nobody's trouble."""
    found = _found(_even(failures=0, successes=100, p95_seconds=0.05))
    assert not any(reading.unusual for reading in found.values())


def test_a_types_own_fall_shows_in_its_share() -> None:
    """Where everything else goes on, less of it is enough."""
    others = [replace(cell, action_type="mcp", executions=200, failures=4, successes=196) for cell in _even()]
    found = _found([*_even(executions=60, failures=1, successes=59), *others])
    assert found["share:rest"].unusual
    assert found["share:rest"].value == pytest.approx(60 / 260)
    assert found["share:rest"].expected == pytest.approx(1 / 3)
    assert not found["share:mcp"].unusual, "the share of the rest rises"


def test_no_hour_at_all_counts_as_none() -> None:
    """A type that stops has no cells any more."""
    others = [replace(cell, action_type="mcp") for cell in _even()]
    found = _found([cell for cell in _even() if cell.hour <= AT - 2 * HOUR] + others)
    assert found["volume:rest"].value == 0.0
    assert found["volume:rest"].unusual
    assert "failure_rate:rest" not in found


def test_few_days_or_few_executions_say_nothing() -> None:
    """Six days of the same kind at least; the volume of a rare type is known, its rates are not."""
    assert _found(_even(days=8)) == {}, "five workdays before"
    assert "volume:rest" in _found(_even(days=9))
    rare = [replace(cell, executions=19, successes=19, failures=0) for cell in _even()]
    assert set(_found(rare)) == {"volume:rest"}
    silent = [replace(cell, p95_seconds=None) for cell in _even()]
    assert "p95_seconds:rest" not in _found(silent)
    assert readings([], AT) == []


def test_a_type_begins_with_its_first_hour() -> None:
    """Before that it was not missing."""
    others = [replace(cell, action_type="mcp") for cell in _even(days=28)]
    found = _found([*_even(days=12), *others])
    assert found["volume:rest"].expected == pytest.approx(100)


def test_weekends_are_compared_with_weekends() -> None:
    """Traffic that halves every Saturday is as expected."""
    cells = [replace(cell, executions=50) if cell.hour.weekday() >= 5 else cell for cell in _even()]
    saturday = AT.replace(day=21)
    (volume,) = [one for one in series_of(cells) if one.measure is Measure.VOLUME]
    reading = read(volume, saturday)
    assert reading is not None
    assert (round(reading.value), round(reading.expected)) == (50, 50)
    workday = read(volume, AT)
    assert workday is not None
    assert round(workday.expected) == 100


@pytest.mark.parametrize(
    ("earlier", "now", "found"),
    [(3.0, 3.0, True), (1.9, 9.0, False), (9.0, 1.9, False), (2.0, 2.0, False), (2.0, 50.0, True), (-3.0, -3.0, False)],
)
def test_each_of_two_hours_deviates_and_both_together(earlier: float, now: float, found: bool) -> None:
    """One extreme hour does not stand for two."""
    assert deviates(Rule(floor=0.1, each=2.0, together=4.0), earlier, now) is found


def test_the_last_whole_hour() -> None:
    """A view refreshed at 14:05 holds all of the hour from 13:00 on; its readings stand for some hours."""
    assert last_whole_hour(AT + timedelta(minutes=5, microseconds=7)) == AT - HOUR
    assert last_whole_hour(AT) == AT - HOUR
    (reading, *_) = readings(_even(), AT)
    last = LastHour(AT, (reading,))
    assert last.known_at(AT + timedelta(hours=2, minutes=59)) == (reading,)
    assert last.known_at(AT + timedelta(hours=3)) == ()
