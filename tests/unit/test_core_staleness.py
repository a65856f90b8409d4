"""How old a view is: the later believable evidence counts, and unknown is never fresh."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.model import Limits, ViewStatus
from analytics_refreshd.core.staleness import Age, Verdict, age_of, critical_age_seconds, max_age_seconds, verdict

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
near = st.timedeltas(timedelta(days=-30), timedelta(days=2))


def seconds_ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def age(claimed: datetime | None, recorded: datetime | None = None, vacuumed: tuple[datetime, ...] = ()) -> Age:
    return age_of(ViewStatus("v", claimed_at=claimed, recorded_at=recorded, vacuumed_at=vacuumed), NOW)


def test_an_ordinary_claim_is_believed() -> None:
    """Without a reason to doubt it, the status function's time is the age."""
    assert age(seconds_ago(90)) == Age("v", 90.0, seconds_ago(90), "function")


def test_the_later_of_claim_and_record_counts() -> None:
    """Both are evidence of a success: a newer record beats an older claim, and the other way round."""
    assert age(seconds_ago(90), seconds_ago(30)).source == "record"
    assert age(seconds_ago(30), seconds_ago(90)).source == "function"


@pytest.mark.parametrize(
    ("claimed", "words"),
    [
        (None, "no last refresh"),
        (seconds_ago(60), "VACUUM"),
        (seconds_ago(-6), "future"),
        (seconds_ago(21 * 365 * 86400), "decades ago"),
    ],
)
def test_a_claim_that_cannot_be_right_leaves_the_record(claimed: datetime | None, words: str) -> None:
    """NULL, a VACUUM's time, the future and the distant past are not believed, and the doubt is put into words."""
    found = age(claimed, seconds_ago(120), vacuumed=(seconds_ago(60), seconds_ago(5000)))
    assert (found.seconds, found.source) == (120.0, "record")
    assert words in (found.doubt or "")
    assert age(claimed, vacuumed=(seconds_ago(60),)).seconds is None


def test_a_record_in_the_future_does_not_make_a_view_fresh() -> None:
    """After the server's clock was set back an hour, the old record is no evidence for the next hour."""
    found = age(None, seconds_ago(-3600))
    assert found.seconds is None
    assert found.last_success_at is None
    assert found.skewed
    assert "record lies in the future" in (found.doubt or "")
    assert age(seconds_ago(400), seconds_ago(-3600)).seconds == 400.0


@pytest.mark.parametrize("evidence", [(seconds_ago(-3), None), (None, seconds_ago(-3))])
def test_a_little_skew_reads_as_zero_and_is_noted(evidence: tuple[datetime | None, datetime | None]) -> None:
    """Less than five seconds in the future is two clocks that differ: age zero, marked as skewed."""
    found = age(*evidence)
    assert found.seconds == 0.0
    assert found.skewed
    assert not age(seconds_ago(1)).skewed


def test_a_view_that_does_not_exist_is_called_so() -> None:
    """It is not the status function that is to blame."""
    assert age_of(ViewStatus("orders_daily", exists=False), NOW).doubt == "there is no view orders_daily"


@given(st.none() | near, st.none() | near, st.lists(near, max_size=3))
def test_no_evidence_makes_a_view_younger_than_it_is(
    claimed: timedelta | None, recorded: timedelta | None, vacuumed: list[timedelta]
) -> None:
    """The age is never negative, and is that of one of the two times, believed and not from a VACUUM alone."""
    claimed_at = NOW + claimed if claimed is not None else None
    recorded_at = NOW + recorded if recorded is not None else None
    vacuumed_at = tuple(NOW + moment for moment in vacuumed)
    found = age(claimed_at, recorded_at, vacuumed_at)
    if found.seconds is None:
        assert found.source is None
        assert found.doubt is not None
        return
    assert found.seconds >= 0
    assert found.last_success_at in (claimed_at, recorded_at)
    assert found.last_success_at is not None
    assert found.last_success_at <= NOW + timedelta(seconds=5)
    if found.source == "function":
        assert claimed_at not in vacuumed_at


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, Verdict.UNKNOWN),
        (0.0, Verdict.FRESH),
        (450.0, Verdict.FRESH),
        (450.1, Verdict.LATE),
        (600.0, Verdict.LATE),
        (600.1, Verdict.STALE),
        (1e6, Verdict.STALE),
    ],
)
def test_an_age_has_a_name(seconds: float | None, expected: Verdict) -> None:
    """Late is over one interval and a half, stale over the limit, unknown never fresh."""
    assert verdict(Age("v", seconds, None, None), Limits()) is expected
    assert expected.is_stale is (seconds is None or seconds > 600)


def test_without_an_age_nothing_is_fresh() -> None:
    """A view whose status was never read is unknown."""
    assert verdict(None, Limits()) is Verdict.UNKNOWN


def test_limits_are_a_view_s_own_else_follow_the_interval() -> None:
    """Twice the interval is stale, and twice the limit critical, unless the configuration says otherwise."""
    limits = Limits(interval_seconds=60.0, max_age_seconds={"v": 100.0, "w": 100.0}, critical_age_seconds={"w": 110.0})
    assert [max_age_seconds(limits, view) for view in "uvw"] == [120.0, 100.0, 100.0]
    assert [critical_age_seconds(limits, view) for view in "uvw"] == [240.0, 200.0, 110.0]
