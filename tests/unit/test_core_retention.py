"""What a retention run may delete, in which portions, and when it waits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.retention import (
    Pace,
    Policy,
    Standbys,
    Survey,
    bound_at,
    confirmed_bound,
    refusal,
    slot_is_near,
    token,
)

NOW = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)
POLICY = Policy(rows=timedelta(days=90), keep_figures=True, max_share=0.2)
BOUND = datetime(2025, 12, 1, 12, tzinfo=UTC)
FINE = Survey(
    now=NOW,
    rows_to_go=10,
    rows=100,
    oldest_at=BOUND - timedelta(days=1),
    timeless=0,
    incremental=True,
    frozen_until=BOUND + timedelta(days=1),
)


def test_the_bound_is_a_whole_hour_of_utc() -> None:
    """No row that is younger than asked for may go, and the bound moves once an hour."""
    assert bound_at(NOW, POLICY.rows) == BOUND


def test_rows_may_go_once_their_figures_are_frozen() -> None:
    """With all as it should be there is no refusal."""
    assert refusal(FINE, POLICY, BOUND) is None
    assert refusal(replace(FINE, frozen_until=BOUND), POLICY, BOUND) is None


@pytest.mark.parametrize(
    ("survey", "policy", "said"),
    [
        (replace(FINE, incremental=False, frozen_until=None), POLICY, "migrate --incremental"),
        (replace(FINE, frozen_until=None), POLICY, "no figures are frozen"),
        (replace(FINE, frozen_until=BOUND - timedelta(hours=1)), POLICY, "until 2025-12-01 11:00 UTC only"),
        (replace(FINE, unindexed=("public.action_results",)), POLICY, "create index concurrently"),
        (replace(FINE, foreign=("public.old",)), POLICY, "public.old is a foreign table"),
        (replace(FINE, hidden=("public.p",)), POLICY, "row security of public.p"),
        (replace(FINE, rows_to_go=21), POLICY, "--max-share 0.22"),
        (replace(FINE, rows_to_go=200), POLICY, "--max-share 1.00"),
    ],
)
def test_a_refusal_names_what_to_do(survey: Survey, policy: Policy, said: str) -> None:
    """Each reason against it is told with its way out."""
    assert said in str(refusal(survey, policy, BOUND))


def test_who_gives_figures_up_needs_no_horizon() -> None:
    """`keep = "nothing"` deletes in plain mode too; the share is asked about all the same."""
    plain = replace(FINE, incremental=False, frozen_until=None)
    given_up = replace(POLICY, keep_figures=False)
    assert refusal(plain, given_up, BOUND) is None
    assert "max_share" in str(refusal(replace(plain, rows_to_go=90), given_up, BOUND))


def test_an_unindexed_table_without_old_rows_is_no_trouble() -> None:
    """An index is asked for where it would be used."""
    assert refusal(replace(FINE, rows_to_go=0, unindexed=("public.p",)), POLICY, BOUND) is None


def test_the_share_of_an_empty_table_is_nothing() -> None:
    """An estimate below what was counted makes no share above one."""
    assert replace(FINE, rows_to_go=0, rows=0).share == 0
    assert replace(FINE, rows_to_go=30, rows=3).share == 1


def test_a_token_confirms_what_it_was_made_for() -> None:
    """Another database, schema or policy needs another; it is good for a day, and its bound stays."""
    made = token("app", "public", BOUND, POLICY)
    assert confirmed_bound(f" {made} ", "app", "public", NOW, POLICY) == BOUND
    assert confirmed_bound(made, "app", "public", NOW + timedelta(hours=23), POLICY) == BOUND
    assert confirmed_bound(made, "app", "public", NOW + timedelta(hours=25), POLICY) is None
    for database, schema, policy in (
        ("other", "public", POLICY),
        ("app", "other", POLICY),
        ("app", "public", replace(POLICY, rows=timedelta(days=91))),
        ("app", "public", replace(POLICY, keep_figures=False)),
    ):
        assert confirmed_bound(made, database, schema, NOW, policy) is None
    assert confirmed_bound("", "app", "public", NOW, POLICY) is None


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), max_size=40))
def test_the_pace_stays_within_its_limits(portions: list[tuple[float, float]]) -> None:
    """However long portions take, the next has some rows, and no more than a second's worth of the fastest."""
    pace = Pace()
    for seconds, commit in portions:
        pace = pace.after(seconds, commit)
        assert 10 <= pace.rows <= 20_000
        assert 2 * seconds <= pace.rest_seconds <= 6 * seconds


def test_the_pace_follows_the_time_that_portions_take() -> None:
    """Quick ones grow, slow ones shrink, and a slow COMMIT makes a long rest."""
    assert Pace(1_000).after(0.04, 0.01) == Pace(2_000, 0.08)
    assert Pace(1_000).after(0.1, 0.01) == Pace(1_000, 0.2)
    assert Pace(1_000).after(0.25, 0.01) == Pace(500, 0.5)
    assert Pace(1_000).after(0.125, 0.11) == Pace(500, 0.75)


def test_a_portion_that_took_too_long_is_tried_smaller() -> None:
    """Until it cannot be smaller."""
    assert Pace(1_000).after_timeout() == Pace(250, 1.0)
    assert Pace(11).after_timeout() == Pace(10, 1.0)
    assert Pace(10).after_timeout() is None


@pytest.mark.parametrize(
    ("standbys", "limit", "behind"),
    [
        (Standbys(), 1, False),
        (Standbys(hidden=2), 1, False),
        (Standbys(lag_seconds=0.9), 1, False),
        (Standbys(lag_seconds=1.1), 1, True),
        (Standbys(lag_seconds=600), 0, False),
        (Standbys(lag_bytes=(64 << 20) + 1), 1, True),
        (Standbys(lag_bytes=64 << 20), 1, False),
    ],
)
def test_a_standby_that_is_behind_is_waited_for(standbys: Standbys, limit: int, behind: bool) -> None:
    """By its time, and by what it lacks where it says no time."""
    assert standbys.behind(timedelta(seconds=limit)) is behind


@pytest.mark.parametrize(
    ("seconds", "near"), [(0, True), (4.9, True), (5.1, False), (150, False), (297.9, False), (298.1, True)]
)
def test_no_portion_begins_about_a_slot(seconds: float, near: bool) -> None:
    """A refresh finds its key free, two seconds before its slot until five after."""
    slot = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert slot_is_near(slot + timedelta(seconds=seconds), slot, slot + timedelta(minutes=5)) is near


def test_a_short_interval_leaves_time_between_slots() -> None:
    """With a cycle every four seconds, half of the time remains."""
    slot = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    moments = [slot + timedelta(seconds=tenths / 10) for tenths in range(40)]
    assert sum(not slot_is_near(moment, slot, slot + timedelta(seconds=4)) for moment in moments) >= 20
