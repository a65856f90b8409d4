"""The same words for the same things."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.model import Blocker
from analytics_refreshd.core.wording import (
    blocked_by,
    bytes_in_words,
    figure_in_words,
    rfc3339,
    seconds_in_words,
    to_the_second,
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "unknown"),
        (float("inf"), "unknown"),
        (float("nan"), "unknown"),
        (-3.0, "0 ms"),
        (0.0, "0 ms"),
        (0.42, "420 ms"),
        (0.9996, "1.0 s"),
        (4.2, "4.2 s"),
        (9.96, "10 s"),
        (41.4, "41 s"),
        (59.6, "1 min"),
        (725.0, "12 min 5 s"),
        (3599.7, "1 h"),
        (12000.0, "3 h 20 min"),
        (86400.0, "1 d"),
        (187200.0, "2 d 4 h"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    """A duration is said in its two largest units, and rounding never yields 60 s or 1000 ms."""
    assert seconds_in_words(seconds) == words


@given(st.floats())
def test_any_float_can_be_said(seconds: float) -> None:
    """No figure, however absurd, breaks the text of an alert."""
    assert seconds_in_words(seconds)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "unknown"),
        (0, "0 B"),
        (512, "512 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
    ],
)
def test_sizes(size: int | None, words: str) -> None:
    """A size is said in binary units."""
    assert bytes_in_words(size) == words


def blocker(**changes: Any) -> Blocker:
    began = datetime(2026, 5, 4, 2, 14, 33, tzinfo=UTC)
    fields: dict[str, Any] = {
        "pid": 812,
        "user": "etl",
        "application": "nightly-etl",
        "state": "idle in transaction",
        "query_started_at": None,
        "transaction_started_at": began,
        "wait_event": None,
    }
    return Blocker(**(fields | changes))


def test_a_blocker_is_named_with_how_long_and_since_when() -> None:
    """The sentence says who blocks, in which state and since when."""
    assert blocked_by(blocker(), 41.0) == "waits 41 s on pid 812, nightly-etl, idle in transaction since 02:14 UTC"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"application": ""}, "waits on pid 812, idle in transaction since 02:14 UTC"),
        ({"transaction_started_at": None}, "waits on pid 812, nightly-etl, idle in transaction"),
        ({"state": None}, "waits on pid 812, nightly-etl"),
        ({"visible": False}, "waits on pid 812, nightly-etl, details hidden: grant pg_read_all_stats to this role"),
    ],
)
def test_what_is_not_known_of_a_blocker_is_left_out(changes: dict[str, object], words: str) -> None:
    """Without rights to see it, the sentence names the grant."""
    assert blocked_by(blocker(**changes)) == words


def test_times_are_written_in_utc() -> None:
    """RFC 3339 for machines and to the second for people, whatever the zone; a naive time is UTC."""
    east = datetime(2026, 3, 1, 7, 44, 5, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert rfc3339(east) == "2026-03-01T02:14:05.123Z"
    assert rfc3339(east, "auto") == "2026-03-01T02:14:05.123456Z"
    assert rfc3339(datetime(2026, 3, 1)) == "2026-03-01T00:00:00.000Z"  # noqa: DTZ001
    assert to_the_second(east) == "2026-03-01 02:14:05Z"


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("count", 1234, "1,234"),
        ("ms", 2600, "2.6 s"),
        ("seconds", 2.6, "2.6 s"),
        ("days", 2, "2 d"),
        ("percent", 93.4, "93.4 %"),
        ("bytes", 1.5 * 2**20, "1.5 MiB"),
        ("money", Decimal("1234.000000005"), "1,234.000000005"),
    ],
)
def test_a_figure_has_its_unit(unit: str, value: float | Decimal, text: str) -> None:
    """Money keeps every digit that it has."""
    assert figure_in_words(unit, value) == text
