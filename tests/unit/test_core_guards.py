"""Successful, and yet suspicious."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.guards import Trip, guard
from analytics_refreshd.core.model import Origin, Run, ViewResult

START = datetime(2026, 5, 4, tzinfo=UTC)


def past(*results: ViewResult) -> list[Run]:
    """Earlier runs, newest first, one result each."""
    return [
        Run(UUID(int=number), Origin.SCHEDULE, START - number * timedelta(minutes=5), views=(result,))
        for number, result in enumerate(results)
    ]


def result(
    rows: int | None = None, seconds: float | None = None, *, success: bool = True, view: str = "v"
) -> ViewResult:
    return ViewResult(view, success, rows=rows, duration_seconds=seconds)


def trips(now: ViewResult, *earlier: ViewResult, ratio: float = 0.5, factor: float = 3.0) -> list[Trip]:
    return guard(now, past(*earlier), rows_collapse_ratio=ratio, slow_factor=factor)


def test_rows_under_half_of_the_last_success_trip() -> None:
    """The last success with a row count is what a view is compared with, not a failure and not another view."""
    earlier = [result(success=False), result(rows=9, view="w"), result(rows=None), result(rows=100), result(rows=10)]
    assert trips(result(rows=49), *earlier) == [Trip("rows_collapsed", "v", 100.0, 49.0)]
    assert trips(result(rows=50), *earlier) == []
    assert trips(result(rows=None), *earlier) == []


def test_small_views_may_come_and_go() -> None:
    """Under twenty rows a change says nothing, and without a past there is nothing to compare with."""
    assert trips(result(rows=0), result(rows=19)) == []
    assert trips(result(rows=0), result(rows=20)) == [Trip("rows_collapsed", "v", 20.0, 0.0)]
    assert trips(result(rows=0, seconds=100.0)) == []


def test_a_time_over_three_times_the_median_trips() -> None:
    """The median of the recent times is the measure: one slow run among them does not move it."""
    earlier = [result(seconds=seconds) for seconds in (2.0, 2.0, 90.0, 2.0, 2.0)]
    assert trips(result(seconds=6.1), *earlier) == [Trip("slow_beside_itself", "v", 2.0, 6.1)]
    assert trips(result(seconds=6.0), *earlier) == []
    assert trips(result(seconds=None), *earlier) == []
    assert trips(result(seconds=6.1), *earlier[:4]) == []


def test_times_under_a_second_are_noise() -> None:
    """Ten times a millisecond is still nothing."""
    assert trips(result(seconds=0.9), *[result(seconds=0.01)] * 5) == []


def test_zero_turns_a_guard_off() -> None:
    """Either guard can be turned off on its own."""
    earlier = [result(rows=100, seconds=2.0)] * 5
    now = result(rows=0, seconds=60.0)
    assert [trip.guard for trip in trips(now, *earlier)] == ["rows_collapsed", "slow_beside_itself"]
    assert [trip.guard for trip in trips(now, *earlier, ratio=0.0)] == ["slow_beside_itself"]
    assert [trip.guard for trip in trips(now, *earlier, factor=0.0)] == ["rows_collapsed"]


@given(st.lists(st.builds(result, st.none() | st.integers(0, 9**9), st.none() | st.floats(0, 9e4)), max_size=80))
def test_a_run_like_the_last_never_trips_on_rows(earlier: list[ViewResult]) -> None:
    """A view that repeats its last count is never suspicious for it."""
    rows = next((item.rows for item in earlier if item.rows is not None), None)
    assert trips(result(rows=rows), *earlier) == []
