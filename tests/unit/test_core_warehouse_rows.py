"""Which month of action rows is loaded next follows from what is there and what moved."""

import pytest

from analytics_refreshd.core.warehouse_rows import LoadedMonth, Month, Moves, next_month, surplus

JANUARY, FEBRUARY, MARCH = (Month(202600 + number, number, number + 1) for number in (1, 2, 3))
ALL = (JANUARY, FEBRUARY, MARCH)
QUIET = Moves({}, 1)


def loaded(*months: Month, batch: int = 5) -> list[LoadedMonth]:
    """These months, as of a batch."""
    return [LoadedMonth(month.month, batch) for month in months]


def test_the_newest_that_lacks_comes_first() -> None:
    """It is asked about most; where none lacks, nothing is loaded."""
    assert next_month(ALL, [], QUIET, 5) == MARCH
    assert next_month(ALL, loaded(MARCH), QUIET, 5) == FEBRUARY
    assert next_month(ALL, loaded(*ALL), QUIET, 5) is None
    assert next_month((), loaded(*ALL), QUIET, 5) is None


@pytest.mark.parametrize(
    ("moves", "again"),
    [
        (Moves({202602: 7}, 1), FEBRUARY),
        (Moves({202602: 7}, 6), FEBRUARY),
        (Moves({202602: 5}, 1), None),
        (Moves({202605: 7}, 6), None),
        # batches between are not known any more: any month may have moved
        (Moves({}, 7), MARCH),
        (Moves({}, None), MARCH),
    ],
)
def test_what_moved_is_loaded_again(moves: Moves, again: Month | None) -> None:
    """By a batch after the one that the month's rows are of."""
    assert next_month(ALL, loaded(*ALL), moves, 8) == again


def test_as_of_the_last_batch_nothing_moved() -> None:
    """Whatever is known of batches."""
    assert next_month(ALL, loaded(*ALL, batch=8), Moves({}, None), 8) is None


def test_months_that_are_not_wanted_are_surplus() -> None:
    """Those before the horizon, and those that are over."""
    assert surplus(ALL, [202603, 202511, 202512]) == [202511, 202512]
    assert surplus((), [202603]) == [202603]


@pytest.mark.parametrize(
    ("moves", "batch", "as_of", "comparable"),
    [
        # loaded at that batch, whatever is known
        (Moves({}, None), 8, 8, True),
        (Moves({202602: 9}, 1), 8, 8, False),
        # loaded before it, and not moved since
        (Moves({202602: 5}, 1), 5, 8, True),
        (Moves({202602: 6}, 1), 5, 8, False),
        (Moves({}, 7), 5, 8, False),
        # loaded after it: what moved it meanwhile is in its rows
        (Moves({202602: 7}, 1), 9, 8, True),
        (Moves({202602: 9}, 1), 9, 8, False),
        (Moves({}, None), 9, 8, False),
    ],
)
def test_rows_are_compared_where_nothing_moved_them(moves: Moves, batch: int, as_of: int, comparable: bool) -> None:
    """Between the batch that they were loaded at and the one that is compared."""
    assert moves.comparable(LoadedMonth(202602, batch), as_of) is comparable
