"""What is compared with a warehouse: hours since the horizon, days before it, and no cell twice."""

from analytics_refreshd.core.warehouse import NO_HOUR, Range
from analytics_refreshd.core.warehouse_ranges import compared_ranges, frozen_days

DAY = 86_400
HOURS = [
    Range(1, "trigger_hours", NO_HOUR, 2 * DAY + 7200),
    Range(2, "trigger_hours", 2 * DAY + 7200, 5 * DAY),
    Range(3, "trigger_hours", 5 * DAY, None),
]
OTHERS = [Range(4, "hours", NO_HOUR, None), Range(5, "triggers", from_trigger="")]


def test_without_a_horizon_all_is_compared_by_the_hour() -> None:
    """Each part as it was exported."""
    assert compared_ranges([*HOURS, *OTHERS], None) == [*HOURS, *OTHERS]


def test_with_a_horizon_hours_are_compared_since_it() -> None:
    """And what has no time, which is never frozen; the other kinds are compared whole."""
    assert compared_ranges([*HOURS, *OTHERS], 3 * DAY + 3600) == [
        Range(1, "trigger_hours", NO_HOUR, NO_HOUR + 1),
        Range(2, "trigger_hours", 3 * DAY + 3600, 5 * DAY),
        HOURS[2],
        *OTHERS,
    ]


def test_days_are_compared_up_to_the_horizon() -> None:
    """In ranges of whole days that meet, the last of which has no end; what is after the horizon is in none."""
    found = frozen_days([*HOURS, *OTHERS], NO_HOUR + 1, 3 * DAY + 3600)
    assert (found.since_hour_at, found.until_hour_at) == (NO_HOUR + 1, 3 * DAY + 3600)
    assert found.parts == (
        Range(1, "trigger_days", NO_HOUR, 2 * DAY),
        Range(2, "trigger_days", 2 * DAY, None),
    )


def test_a_part_without_a_beginning_begins_with_all() -> None:
    """As one of triggers is written."""
    whole = Range(1, "trigger_hours", None, None)
    assert frozen_days([whole], 0, DAY).parts == (Range(1, "trigger_days", NO_HOUR, None),)
    assert compared_ranges([whole], DAY) == [Range(1, "trigger_hours", DAY, None)]


def test_triggers_in_another_order_are_one_part() -> None:
    """Bounds would part them differently on the two sides; hours stay as they are."""
    assert compared_ranges([*HOURS, *OTHERS], None, ordered=False) == [Range(0, "triggers"), *HOURS, OTHERS[0]]
