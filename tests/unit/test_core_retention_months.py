"""Which whole partitions a retention run takes, keeps, and drops."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from analytics_refreshd.core.retention_months import Kept, Months, OldPartition, Record, marked, unmarked

NOW = datetime(2026, 11, 27, tzinfo=UTC)
WEEK = timedelta(days=7)
MAY = OldPartition("public", "may", datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC), 10)
JUNE = OldPartition("public", "june", datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC), 10)
FIRST = OldPartition("public", "first", None, datetime(2026, 5, 1, tzinfo=UTC), 10)


def record(partition: OldPartition, state: Kept, days: float, *, present: bool = True) -> Record:
    """What became of it so many days ago."""
    return Record(partition, 7, state, NOW - timedelta(days=days), present)


def test_what_is_old_is_taken_oldest_first_by_a_member_of_the_owner() -> None:
    """Another role takes and drops nothing."""
    records = (record(FIRST, Kept.DETACHED, 8), record(FIRST, Kept.DETACHED, 6))
    months = Months(NOW, (JUNE, MAY), records, "owner", True)
    assert months.to_take(WEEK) == (MAY, JUNE)
    assert months.to_drop(WEEK) == records[:1]
    stranger = Months(NOW, (JUNE, MAY), records, "owner", False)
    assert (stranger.to_take(WEEK), stranger.to_drop(WEEK)) == ((), ())


@pytest.mark.parametrize(
    ("state", "days", "present", "stays"),
    [
        (Kept.RETURNED, 6, True, True),
        (Kept.RETURNED, 8, True, False),
        (Kept.RETURNED, 6, False, False),
        (Kept.DETACHED, 6, True, False),
        (Kept.DROPPED, 6, True, False),
    ],
)
def test_what_was_put_back_stays_for_as_long(state: Kept, days: float, present: bool, stays: bool) -> None:
    """Else the next night would take it again."""
    months = Months(NOW, (MAY, JUNE), (record(MAY, state, days, present=present),), "owner", True)
    assert (months.returned(WEEK) == (MAY,)) is stays
    assert months.to_take(WEEK) == ((JUNE,) if stays else (MAY, JUNE))


def test_a_table_is_asked_for_by_month_or_name() -> None:
    """Only one that is there and was not put back."""
    may = record(MAY, Kept.DETACHED, 1)
    months = Months(NOW, (), (record(JUNE, Kept.RETURNED, 1), record(FIRST, Kept.DETACHED, 1), may))
    assert [months.to_put_back(asked) for asked in ("2026-05", " may ", "public.may")] == [may] * 3
    assert months.to_put_back("first") == record(FIRST, Kept.DETACHED, 1)
    assert [months.to_put_back(asked) for asked in ("2026-06", "", "april")] == [None] * 3
    assert months.waiting() == ("public.first", "public.may")
    assert Months(NOW, (), (record(MAY, Kept.DETACHED, 9, present=False),)).waiting() == ()


@pytest.mark.parametrize("comment", [None, "ours", "ours,\nof two lines"])
def test_a_table_is_marked_by_its_comment(comment: str | None) -> None:
    """The mark names the run; another run's takes its place, and without it the comment is as it was."""
    first, second = uuid4(), uuid4()
    twice = marked(marked(comment, first), second)
    assert str(second) in twice
    assert str(first) not in twice
    assert unmarked(twice) == unmarked(comment) == comment
    assert unmarked("") is None
