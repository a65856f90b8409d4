"""Slots are pure arithmetic on UTC: no clock, no zone and no jump moves them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.schedule import clock_step, due_at_start, next_slot, slot_at, splay_offset

FIVE_MINUTES = timedelta(minutes=5)
moments = st.integers(631_152_000_000_000, 7_258_118_400_000_000).map(
    lambda microseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)
intervals = st.timedeltas(timedelta(seconds=1), timedelta(days=2))
offsets = st.timedeltas(timedelta(0), timedelta(hours=1))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(moments, intervals, offsets)
def test_a_moment_lies_between_its_slot_and_the_next(moment: datetime, interval: timedelta, offset: timedelta) -> None:
    """The slot is at or before the moment, the next one after it, and they are one interval apart."""
    slot = slot_at(moment, interval, offset)
    assert slot <= moment < next_slot(moment, interval, offset) == slot + interval
    assert (slot - datetime(1970, 1, 1, tzinfo=UTC) - offset) % interval == timedelta(0)
    assert slot_at(slot, interval, offset) == slot


@pytest.mark.parametrize(
    ("moment", "slot"),
    [
        ("2028-02-29T23:59:59", "2028-02-29T23:55"),
        ("2016-12-31T23:59:59.999999", "2016-12-31T23:55"),
        ("2026-03-01T00:00", "2026-03-01T00:00"),
    ],
)
def test_leap_days_and_ends_of_years_are_ordinary(moment: str, slot: str) -> None:
    """Slots pass through a leap day, a leap second and the turn of a month without a seam."""
    assert slot_at(at(moment), FIVE_MINUTES) == at(slot)


@pytest.mark.parametrize("change", ["2026-03-29T00:30", "2026-10-25T00:30"])
def test_summer_time_moves_no_slot(change: str) -> None:
    """A moment given in a zone that changes to or from summer time has the slots of the same moment in UTC."""
    for minutes in range(0, 120, 7):
        moment = at(change) + timedelta(minutes=minutes)
        local = moment.astimezone(ZoneInfo("Europe/Berlin"))
        assert slot_at(local, timedelta(hours=1)) == slot_at(moment, timedelta(hours=1))
        assert next_slot(local, FIVE_MINUTES).utcoffset() == timedelta(0)


def test_a_naive_moment_is_refused() -> None:
    """A datetime without a zone is a mistake, not a local time."""
    with pytest.raises(TypeError):
        slot_at(datetime(2026, 1, 1), FIVE_MINUTES)  # noqa: DTZ001


@given(st.text(), st.timedeltas(timedelta(0), timedelta(hours=1)))
def test_splay_is_fixed_and_below_its_bound(name: str, splay: timedelta) -> None:
    """A daemon's offset is the same on every call, never negative, and below the splay."""
    offset = splay_offset(name, splay)
    assert offset == splay_offset(name, splay)
    assert timedelta(0) <= offset < max(splay, timedelta(microseconds=1))


def test_forty_daemons_spread_over_the_splay() -> None:
    """Different names get different offsets, and nobody gets one without a splay."""
    offsets = {splay_offset(f"shop-{number}", timedelta(minutes=1)) for number in range(40)}
    assert len(offsets) == 40
    assert max(offsets) - min(offsets) > timedelta(seconds=45)
    assert splay_offset("shop-1", timedelta(0)) == splay_offset("shop-1", timedelta(seconds=-5)) == timedelta(0)


@pytest.mark.parametrize(
    ("ages", "due"),
    [([0.0, 300.0], False), ([0.0, 300.1], True), ([None, 0.0], True), ([], False)],
)
def test_a_start_refreshes_at_once_when_a_view_is_old_or_unknown(ages: list[float | None], due: bool) -> None:
    """A view over one interval old, or of unknown age, does not wait for the next slot."""
    assert due_at_start(ages, FIVE_MINUTES) is due


def test_a_clock_step_is_what_the_wall_gained_on_the_monotonic_clock() -> None:
    """Forward is positive, back is negative, and a long wait is no step."""
    second = timedelta(seconds=1)
    assert clock_step(3601 * second, second) == timedelta(hours=1)
    assert clock_step(-3599 * second, second) == timedelta(hours=-1)
    assert clock_step(600 * second, 600 * second) == timedelta(0)
