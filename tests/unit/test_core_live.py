"""Figures that are true to the second: sums by hour, and what they make of the summary."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_refreshd.core.live import Counts, hours_plus, summarized, total
from analytics_refreshd.core.thresholds import Threshold

HOUR = datetime(2026, 3, 1, 10, tzinfo=UTC)
FIGURES = st.integers(-(10**9), 10**9)
COUNTS = st.builds(Counts, FIGURES, FIGURES, FIGURES, FIGURES, FIGURES, FIGURES)
HOURS = st.dictionaries(st.integers(0, 30).map(lambda n: HOUR + timedelta(hours=n)), COUNTS)


@given(HOURS, HOURS, HOURS)
@example({HOUR: Counts(3)}, {HOUR: Counts(1)}, {})
def test_what_waits_and_was_taken_away_comes_back(rows: dict, before: dict, after: dict) -> None:  # type: ignore[type-arg]
    """A summary without what waited, and with all that waits now, has what came between."""
    settled = hours_plus(rows, before, -1)
    now = total(hours_plus(settled, after).values())
    assert now == total(rows.values()).plus(total(after.values())).plus(total(before.values()), -1)


def test_the_summary_of_hours() -> None:
    """Sums of all hours; an hour whose rows are all gone has no data."""
    hours = {
        HOUR: Counts(3, 2, 1, 2, 301, 4),
        HOUR + timedelta(hours=1): Counts(4, 4, 0, 0, 0, 1),
        HOUR + timedelta(hours=2): Counts(),
    }
    assert summarized(hours) == {
        "total_executions": 7,
        "total_successes": 6,
        "total_failures": 1,
        "success_rate": Decimal("85.71"),
        "avg_duration_ms": Decimal("150.50"),
        "total_retries": 5,
        "hours_with_data": 2,
        "status": "unhealthy",
    }
    nothing = summarized({})
    assert (nothing["success_rate"], nothing["avg_duration_ms"], nothing["status"]) == (None, None, None)
    assert nothing["total_executions"] == 0


@pytest.mark.parametrize(
    ("successes", "status"),
    [(1000, "healthy"), (950, "healthy"), (949, "degraded"), (900, "degraded"), (899, "unhealthy"), (0, "unhealthy")],
)
def test_the_word_for_a_success_rate(successes: int, status: str) -> None:
    """By the rate itself, not by the rounded one."""
    assert Counts(1000, successes).status(Threshold()) == status
    assert Counts(100_000, 94_999).status(Threshold()) == "degraded"


def test_halves_are_rounded_as_postgresql_rounds_them() -> None:
    """Away from zero, also where Python's own rounding takes the even one."""
    assert Counts(executions=800, successes=1).success_rate == Decimal("0.13")
    assert Counts(timed=200, duration_total_ms=1).avg_duration_ms == Decimal("0.01")
