"""When a limit will be reached: on simulated tables that grow, and in sentences."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median, quantiles

import pytest

from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.outlook import (
    LimitDays,
    Outlook,
    OutlookState,
    Quantity,
    day_outlooks,
    disk_outlook,
    rate_outlook,
    refresh_outlook,
)
from analytics_refreshd.core.trend import DayFigure, limit_forecast

START = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL = 300.0
_P95 = 1.3
"""The 95th percentile of a day's runs, against the run that takes what its rows need."""


def days(values: list[float], now: datetime) -> list[DayFigure]:
    """One a day, the last half a day before `now`."""
    first = now - timedelta(days=len(values)) + timedelta(hours=12)
    return [DayFigure(first + timedelta(days=number), value) for number, value in enumerate(values)]


def growing(seed: int, length: int, form: str) -> list[float]:
    """The first half of the days on which a table grows until its refresh takes the interval.

    The rows grow by as many, or by as large a share, each day. A refresh sorts them. Runs differ by 15 %, one of fifty
    takes three times as long, and on one day of twenty the server is busy with something else.
    """
    random = Random(f"{seed} {length} {form}")

    def rows(day: float) -> float:
        return 1e6 + 4e5 * day if form == "line" else 1e6 * math.exp(3 * day / length)

    def needs(day: float) -> float:
        at, last = rows(day), rows(length)
        return INTERVAL / _P95 * at * math.log(at) / (last * math.log(last))

    found = []
    for day in range(length // 2):
        busy = 1.8 if random.random() < 0.05 else 1.0
        runs = [
            busy * needs(day + 0.5) * random.lognormvariate(0, 0.15) * (3 if random.random() < 0.02 else 1)
            for _ in range(96)
        ]
        found.append(quantiles(runs, n=20)[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("form", ["line", "curve"])
def test_at_half_way_the_date_is_within_a_fifth(form: str) -> None:
    """Of tables that take from 40 days to half a year; of twenty at most one is off by more."""
    errors = []
    for length in (40, 60, 90, 180):
        for seed in range(5):
            found = limit_forecast(days(growing(seed, length, form), START), INTERVAL, START)
            assert found is not None
            assert found.limit == INTERVAL
            errors.append(abs(found.seconds_left / 86400 / (length / 2) - 1))
    assert sum(error > 0.2 for error in errors) <= 1


def steady(seed: int, count: int = 60) -> list[float]:
    """Days without a trend."""
    random = Random(f"steady {seed}")
    return [5 * random.lognormvariate(0, 0.1) for _ in range(count)]


@pytest.mark.slow
def test_days_without_a_trend_have_no_date() -> None:
    """Chance makes a date of one in fifty series at most."""
    found = [limit_forecast(days(steady(seed), START), INTERVAL, START) for seed in range(50)]
    assert sum(one is None or one.seconds_left < math.inf for one in found) <= 1
    assert sum(one is not None and one.change_per_day is None for one in found) >= 47


def test_too_few_days_say_nothing() -> None:
    """Thirteen do not, and days long past do not count."""
    assert limit_forecast(days(steady(1, 13), START), INTERVAL, START) is None
    assert limit_forecast(days(steady(1, 14), START), INTERVAL, START) is not None
    assert limit_forecast(days(steady(1, 20), START - timedelta(days=80)), INTERVAL, START) is None


def test_after_a_change_of_the_mode_the_days_before_do_not_count() -> None:
    """What took minutes takes half a second: no date is made of the minutes, from the third day on."""
    before = growing(1, 120, "line")
    for passed in (3, 7, 14, 20, 30):
        now = [0.5 + 0.01 * Random(number).random() for number in range(passed)]
        found = limit_forecast(days([*before, *now], START), INTERVAL, START)
        assert found is not None
        assert found.seconds_left == math.inf
        assert found.value == pytest.approx(0.5, rel=0.05)
    risen = [*steady(1, 20), *(60 + 4.0 * number for number in range(16))]
    again = limit_forecast(days(risen, START), INTERVAL, START)
    assert again is not None
    assert again.seconds_left / 86400 == pytest.approx((INTERVAL - 60) / 4 - 15.5, rel=0.05)
    # too few days since then for a course of their own
    few = [*days(steady(1, 40), START - timedelta(days=30)), *days([60.0] * 5, START)]
    found = limit_forecast(few, INTERVAL, START)
    assert found is not None
    assert (found.value, found.change_per_day, found.seconds_left) == (60.0, None, math.inf)


def test_a_limit_may_be_one_from_above() -> None:
    """A rate that falls by half a point a day from 99 reaches 90; one that rises never does."""
    falling = [99 - 0.25 * number for number in range(20)]
    found = limit_forecast(days(falling, START), 90, START, upwards=False)
    assert found is not None
    assert found.value == 99 - 0.25 * 17
    assert found.change_per_day == pytest.approx(-0.25)
    assert found.seconds_left / 86400 == pytest.approx((falling[-1] - 90) / 0.25 - 0.5)
    rising = limit_forecast(days(falling[::-1], START), 90, START, upwards=False)
    assert rising is not None
    assert rising.change_per_day == pytest.approx(0.25)
    assert rising.seconds_left == math.inf
    beyond = limit_forecast(days([80.0] * 20, START), 90, START, upwards=False)
    assert beyond is not None
    assert (beyond.change_per_day, beyond.seconds_left) == (None, 0.0)


LINE = [10.0 + 2 * number for number in range(20)]


@pytest.mark.parametrize(
    ("values", "text", "soon"),
    [
        (LINE, "within 44 s, 2.0 s more each day: the interval of 5 min is reached in about 126 days", False),
        ([5 * value for value in LINE[:18]], "is reached in about 8 days, on 2026-01-08", True),
        ([270 + 1.5 * number for number in range(20)], "the interval of 5 min is reached within two days", True),
        ([400.0] * 20, "19 of 20 runs end within 6 min 40 s: the interval of 5 min is reached", True),
        (LINE[::-1], "within 14 s, 2.0 s less each day: not on the way to the interval of 5 min", False),
        (
            [1 + 0.1 * number for number in range(20)],
            "100 ms more each day: the interval of 5 min is not reached",
            False,
        ),
    ],
)
def test_what_is_said_of_refresh_time(values: list[float], text: str, soon: bool) -> None:
    """Figure, trend, limit and date; a month before it somebody should act."""
    found = refresh_outlook(days(values, START), Limits(), START)
    assert text in found.text
    assert found.soon is soon


def test_what_is_said_of_the_success_rate() -> None:
    """In points; a rate without a trend is said without one."""
    falling = rate_outlook(days([99 - 0.25 * number for number in range(20)], START), Limits(), START)
    assert falling.soon
    assert falling.text.startswith(
        "94.8 % of a day's actions succeed, 0.25 points less each day: success_rate_min, 90 %,"
    )
    better = rate_outlook(days([91 + 0.25 * number for number in range(20)], START), Limits(), START)
    assert better.text.endswith("0.25 points more each day: not on the way to success_rate_min, 90 %")
    same = rate_outlook(days([98.0] * 20, START), Limits(), START)
    assert same.text == "98.0 % of a day's actions succeed: not on the way to success_rate_min, 90 %"


def test_what_is_said_of_the_disk() -> None:
    """As the alert judges it; nothing without a capacity, or within the first day."""
    gib = 1 << 30
    limits = replace(Limits(), disk_bytes=100 * gib)

    def sizes(growth: float, hours: int = 240) -> list[SizeSample]:
        return [
            SizeSample(START - timedelta(hours=number), round((50 - growth * number / 24) * gib))
            for number in range(hours, -1, -1)
        ]

    grows = disk_outlook(sizes(2.0), limits, START)
    assert grows is not None
    assert grows.soon
    assert grows.text == (
        "the database takes 50.0 GiB, 2.0 GiB more each day: disk_bytes, 100.0 GiB, is reached in about 25 days,"
        " on 2026-01-26"
    )
    same = disk_outlook(sizes(0.0), limits, START)
    assert same is not None
    assert same.text == "the database takes 50.0 GiB: not on the way to disk_bytes, 100.0 GiB"
    young = disk_outlook(sizes(2.0, hours=5), limits, START)
    assert young is not None
    assert (young.state, young.value) == (OutlookState.UNKNOWN, None)
    assert young.text == "when disk_bytes are used up is unknown: fewer than 24 hours of sizes are known"
    none = disk_outlook((), limits, START)
    assert none is not None
    assert none.text.endswith("unknown: no size of today is known")
    assert disk_outlook(sizes(2.0), Limits(), START) is None


@pytest.mark.parametrize(
    ("outlook", "limit", "text"),
    [
        (refresh_outlook, 300.0, "when a refresh takes its interval is unknown: fewer than 14 days of runs are known"),
        (
            rate_outlook,
            90.0,
            "when the success rate falls to success_rate_min is unknown: fewer than 14 days have enough actions",
        ),
    ],
)
def test_what_is_not_known_is_said_to_be_unknown(outlook: Callable[..., Outlook], limit: float, text: str) -> None:
    """A history of a few days is no trend. The limit is known, and no figure."""
    found = outlook(days([1.0] * 3, START), Limits(), START)
    assert (found.state, found.text, found.limit, found.as_of) == (OutlookState.UNKNOWN, text, limit, START)
    assert (found.value, found.change_per_day, found.reached_at, found.soon) == (None, None, None, False)


@pytest.mark.parametrize(
    ("values", "state", "left"),
    [
        (LINE, OutlookState.EXPECTED, 126),
        ([400.0] * 20, OutlookState.REACHED, None),
        (LINE[::-1], OutlookState.NOT_EXPECTED, None),
        ([1 + 0.1 * number for number in range(20)], OutlookState.NOT_EXPECTED, None),
    ],
)
def test_an_outlook_has_what_its_sentence_says(values: list[float], state: OutlookState, left: int | None) -> None:
    """The date as a time, figures in the quantity's unit, and when they were read."""
    known = LimitDays(START, days(values, START), None)
    refresh, rate = day_outlooks(known, Limits())
    assert (refresh.quantity, refresh.quantity.unit) == (Quantity.REFRESH_TIME, "seconds")
    assert (refresh.state, refresh.limit, refresh.as_of) == (state, INTERVAL, START)
    assert refresh.value == median(values[-5:])
    passed = None if refresh.reached_at is None else (refresh.reached_at - START) / timedelta(days=1)
    assert passed == (None if left is None else pytest.approx(left, abs=0.5))
    assert (rate.quantity.unit, rate.state) == ("percent", OutlookState.UNKNOWN)
    assert rate.text.endswith("is unknown: the days before may not be read here")
    unread, falling = day_outlooks(LimitDays(START, None, days([99 - 0.25 * n for n in range(20)], START)), Limits())
    assert unread.state is OutlookState.UNKNOWN
    assert falling.state is OutlookState.EXPECTED
    assert falling.change_per_day == pytest.approx(-0.25)
