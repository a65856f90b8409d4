"""Slots are pure arithmetic on UTC: no clock, no zone and no jump moves them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.model import Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.schedule import (
    Schedule,
    clock_step,
    due_at_start,
    next_slot,
    slot_at,
    splay_offset,
    taken,
)

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


HALF_MINUTE, HOUR = timedelta(seconds=30), timedelta(hours=1)
MIXED = Schedule(FIVE_MINUTES, views=("hourly", "common", "failures"), own={"failures": HALF_MINUTE, "hourly": HOUR})
NOON = at("2026-03-01T12:00")


def test_without_intervals_of_views_each_slot_is_one_of_all() -> None:
    """None says so: nothing is chosen, and nothing remembered."""
    schedule = Schedule(FIVE_MINUTES, HALF_MINUTE, ("a", "b"))
    assert schedule.due(NOON, {}) is None
    assert (schedule.intervals, schedule.shortest) == ((FIVE_MINUTES,), FIVE_MINUTES)
    assert schedule.slot_at(NOON) == slot_at(NOON, FIVE_MINUTES, HALF_MINUTE)
    assert schedule.next_slot(NOON) == next_slot(NOON, FIVE_MINUTES, HALF_MINUTE)


def test_an_interval_that_no_view_has_makes_no_slots() -> None:
    """Where every view has an interval of its own the common one is nobody's."""
    schedule = Schedule(timedelta(seconds=1), views=("a",), own={"a": HOUR})
    assert (schedule.intervals, schedule.next_slot(NOON)) == ((HOUR,), NOON + HOUR)


@pytest.mark.parametrize(
    ("time", "slot", "due"),
    [
        ("12:00:00.01", "12:00", ("failures", "common", "hourly")),
        ("12:00:30.01", "12:00:30", ("failures",)),
        ("12:05:00.01", "12:05", ("failures", "common")),
        ("12:59:30.01", "12:59:30", ("failures",)),
        ("13:00:00.01", "13:00", ("failures", "common", "hourly")),
    ],
)
def test_views_are_due_in_their_own_slots(time: str, slot: str, due: tuple[str, ...]) -> None:
    """Those that were taken a moment before are not due, and the most frequent comes first: it waits for no other."""
    moment = at(f"2026-03-01T{time}")
    before = MIXED.slots_at(moment - timedelta(seconds=1))
    assert MIXED.due(moment, before) == due
    assert MIXED.slot_at(moment) == at(f"2026-03-01T{slot}")
    assert MIXED.next_slot(moment - timedelta(seconds=1)) == at(f"2026-03-01T{slot}")
    assert MIXED.next_slot_of("hourly", moment) == slot_at(moment, HOUR) + HOUR


seconds = st.integers(1, 60).map(lambda number: timedelta(seconds=number))


@given(
    st.lists(seconds, min_size=1, max_size=5),
    st.lists(st.timedeltas(timedelta(0), timedelta(minutes=2)), min_size=5, max_size=30),
    st.timedeltas(timedelta(0), timedelta(seconds=50)),
)
def test_no_slot_is_lost_and_none_is_done_twice(own: list[timedelta], runs: list[timedelta], offset: timedelta) -> None:
    """However long runs take: at each run exactly the views are due that had a slot since their last one."""
    schedule = Schedule(HOUR, offset, tuple(map(str, range(len(own)))), dict(enumerate_views(own)))
    now, done = NOON, schedule.slots_at(NOON)
    for length in runs:
        now = schedule.next_slot(now)
        due = schedule.due(now, done)
        assert due is not None
        for view in schedule.views:
            latest = slot_at(now, schedule.interval_of(view), offset)
            assert (view in due) is (latest > done[view])
        assert len(set(due)) == len(due) >= 1
        done |= {view: schedule.slots_at(now)[view] for view in due}
        assert schedule.due(now, done) == ()
        now += length


def enumerate_views(own: list[timedelta]) -> list[tuple[str, timedelta]]:
    return [(str(number), interval) for number, interval in enumerate(own)]


def test_forty_views_due_at_once_are_one_run() -> None:
    """And what comes while that goes on is due once, however many slots it was."""
    views = tuple(f"v{number}" for number in range(40))
    schedule = Schedule(FIVE_MINUTES, views=views, own=dict.fromkeys(views, HALF_MINUTE))
    due = schedule.due(NOON, {})
    assert due == views
    done = schedule.slots_at(NOON)
    assert schedule.due(NOON + timedelta(minutes=3), done) == views


def test_a_run_that_had_to_wait_is_that_of_its_own_slot() -> None:
    """Slots that passed meanwhile were skipped, and are not used again."""
    skipped = {NOON + timedelta(seconds=30), NOON + timedelta(seconds=60)}
    assert MIXED.slot_but(NOON + timedelta(seconds=70), skipped) == NOON
    assert MIXED.slot_but(NOON + timedelta(seconds=91), skipped) == NOON + timedelta(seconds=90)


def test_after_a_step_back_of_the_clock_every_view_is_due_again() -> None:
    """A slot that was taken lies in the future then: waiting for it would leave the views alone for as long."""
    later = MIXED.slots_at(NOON + timedelta(days=3))
    assert MIXED.due(NOON, later) == ("failures", "common", "hourly")


@pytest.mark.parametrize(
    ("ages", "views"),
    [
        ({"failures": 31.0, "common": 299.0, "hourly": 3599.0}, ("failures",)),
        ({"hourly": 3601.0, "common": 1.0, "failures": None}, ("failures", "hourly")),
        ({"failures": 1.0}, ()),
        ({}, None),
    ],
)
def test_a_start_refreshes_what_is_older_than_its_own_interval(
    ages: dict[str, float | None], views: tuple[str, ...] | None
) -> None:
    """The hourly view of half an hour ago waits for its slot; of what nothing is known, all is refreshed."""
    assert MIXED.overdue(ages) == views


def test_without_intervals_of_views_one_old_view_refreshes_all() -> None:
    """As one call of the refresh function does."""
    schedule = Schedule(FIVE_MINUTES, views=("a", "b"))
    assert schedule.overdue({"a": 301.0, "b": 1.0}) is None
    assert schedule.overdue({"a": 299.0, "b": 1.0}) == ()


def ended(outcome: Outcome, *views: ViewResult, reason: Reason | None = None) -> Run:
    return Run(UUID(int=1), Origin.SCHEDULE, NOON, outcome=outcome, reason=reason, views=views)


def failed(view: str, reason: Reason) -> ViewResult:
    return ViewResult(view, False, reason)


@pytest.mark.parametrize(
    ("run", "had"),
    [
        (None, {"a", "b"}),
        (ended(Outcome.OK, ViewResult("a", True), ViewResult("b", True)), {"a", "b"}),
        (ended(Outcome.SKIPPED, reason=Reason.OVERLAP), set()),
        (ended(Outcome.PARTIAL, ViewResult("a", True), failed("b", Reason.LOCK_TIMEOUT)), {"a"}),
        (ended(Outcome.PARTIAL, failed("a", Reason.NO_UNIQUE_INDEX), ViewResult("b", True)), {"a", "b"}),
        (ended(Outcome.FAILED, failed("a", Reason.ROLLED_BACK), failed("b", Reason.CONNECT), reason=Reason.CONN_LOST),
         set()),
        (ended(Outcome.TIMEOUT, failed("a", Reason.TIMEOUT), failed("b", Reason.TIMEOUT)), {"a", "b"}),
    ],
    ids=["standby", "ok", "skipped", "locked", "broken", "lost", "too slow"],
)  # fmt: skip
def test_a_view_waits_for_its_own_slot_unless_that_could_not_be_used(run: Run | None, had: set[str]) -> None:
    """An hourly view that met a lock is tried again in half a minute; one that is broken is not."""
    assert taken(("a", "b"), run) == had
