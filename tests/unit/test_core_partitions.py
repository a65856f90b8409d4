"""Which months are made, what forbids them, and what confirms a conversion."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from analytics_refreshd.core.conversion import obstacles, partman_configuration, said_first, token
from analytics_refreshd.core.partitions import (
    Choice,
    Hanging,
    Kind,
    Layout,
    Lock,
    Month,
    Partition,
    decide,
    scan_seconds,
    wanted,
)

NOW = datetime(2026, 11, 27, 4, 0, tzinfo=UTC)
THIS, NEXT, LAST = wanted(NOW)
PLAIN = Layout(NOW, "public", "owner", None, "timestamp with time zone", 1000)
DEFAULT = Partition("public", "action_results_default", True, None, None)
MONTHS = replace(PLAIN, key="RANGE (executed_at)", partitions=(DEFAULT,))


def part(since: datetime | None, until: datetime | None, name: str = "part") -> Partition:
    """A partition with these bounds."""
    return Partition("public", name, False, since, until)


def choices(layout: Layout) -> list[Choice]:
    """What becomes of this month and the two after it."""
    return [each.choice for each in decide(layout)]


def test_months_are_those_of_utc() -> None:
    """A month begins at midnight UTC, whatever zone a time is told in, and a year ends."""
    west = timezone(timedelta(hours=-8))
    assert Month.of(datetime(2026, 11, 30, 20, 0, tzinfo=west)) == NEXT
    assert [str(month) for month in (THIS, NEXT, LAST)] == ["2026-11", "2026-12", "2027-01"]
    assert (NEXT.end, NEXT.table, NEXT.check) == (LAST.start, "action_results_2026_12", "analytics_refresh_2026_12")
    assert (Month.parse(" 2026-12 "), Month.parse("December")) == (NEXT, None)


def test_two_months_are_made_ahead_and_this_one_stays_where_its_rows_are() -> None:
    """Of a table that is not partitioned, too: it becomes the DEFAULT."""
    assert choices(PLAIN) == choices(MONTHS) == [Choice.BEGUN, Choice.MAKE, Choice.MAKE]
    assert "they go to public.action_results_default" in decide(PLAIN)[0].why
    assert choices(replace(MONTHS, partitions=())) == [Choice.MAKE, Choice.MAKE, Choice.MAKE]
    assert choices(replace(MONTHS, held=(THIS, NEXT), taken=(LAST,))) == [Choice.BEGUN, Choice.HELD, Choice.TAKEN]
    assert "holds rows of it" in decide(replace(PLAIN, held=(NEXT,)))[1].why


def test_a_month_that_is_about_to_begin_is_not_made_beside_a_default() -> None:
    """While it is made its rows are refused, so it is left to the DEFAULT; without one they would fail anyway."""
    soon = replace(MONTHS, now=NEXT.start - timedelta(minutes=59))
    assert choices(soon) == [Choice.BEGUN, Choice.BEGUN, Choice.MAKE]
    assert choices(replace(soon, partitions=())) == [Choice.MAKE, Choice.MAKE, Choice.MAKE]
    assert choices(replace(MONTHS, now=NEXT.start - timedelta(minutes=61)))[1] is Choice.MAKE


@pytest.mark.parametrize(
    ("there", "choice"),
    [
        ([part(NEXT.start, NEXT.end)], Choice.COVERED),
        ([part(None, None)], Choice.COVERED),
        ([part(None, NEXT.start), part(NEXT.end, None)], Choice.MAKE),
        ([part(NEXT.start, NEXT.start + timedelta(days=7))], Choice.OVERLAPS),
        ([part(NEXT.start + timedelta(days=7), None)], Choice.OVERLAPS),
        (
            [part(NEXT.start + timedelta(days=7), NEXT.end, "b"), part(None, NEXT.start + timedelta(days=7), "a")],
            Choice.COVERED,
        ),
        (
            [part(THIS.start, NEXT.start + timedelta(days=7)), part(NEXT.start + timedelta(days=8), None)],
            Choice.OVERLAPS,
        ),
    ],
)
def test_partitions_made_by_hand_count(there: list[Partition], choice: Choice) -> None:
    """A month that others hold together is left alone; one that they hold in part is nobody's to make."""
    assert choices(replace(MONTHS, partitions=(*there, DEFAULT)))[1] is choice


@pytest.mark.parametrize("kind", Kind)
def test_everything_that_hangs_on_the_table_is_either_said_or_forbids(kind: Kind) -> None:
    """Each is named once."""
    layout = replace(PLAIN, hanging=(Hanging(kind, "object X"),))
    named = [text for text in (*obstacles(layout), *said_first(layout)) if "object X" in text]
    assert len(named) == 1
    assert bool(obstacles(layout)) is (kind not in (Kind.KEY, Kind.STATISTICS))


def test_a_layout_that_is_not_by_months_is_refused() -> None:
    """Another key, another type of the time, and a program that makes months itself."""
    assert obstacles(MONTHS) == said_first(MONTHS) == ()
    assert "LIST (status)" in obstacles(replace(MONTHS, key="LIST (status)"))[0]
    assert "timestamp without" in obstacles(replace(PLAIN, time_type="timestamp without time zone"))[0]
    assert "executed_at is missing" in obstacles(replace(PLAIN, time_type=None))[0]
    assert "pg_partman" in obstacles(replace(MONTHS, partman="5.2.4 partman"))[0]


def test_pg_partman_is_configured_by_its_version() -> None:
    """Version 5 has other arguments than 4, and its schema is named; rows that stay for ever set no retention."""
    newer = partman_configuration(replace(MONTHS, partman="5.2.4 parts"), timedelta(days=90))
    assert '"parts".create_parent' in newer
    assert "p_interval := '1 month'" in newer
    assert "retention = '90 days'" in newer
    older = partman_configuration(replace(MONTHS, partman="4.7.0 partman"), None)
    assert "p_type := 'native'" in older
    assert "retention" not in older
    odd = partman_configuration(replace(MONTHS, schema="o'brien", partman='5.2.4 part"s'), None)
    assert "\"part\"\"s\".create_parent(p_parent_table := 'o''brien.action_results'" in odd
    assert odd.count("o''brien") == odd.count("brien") == 2


def test_a_token_is_of_one_plan() -> None:
    """Another database, schema, command or sentence has another."""
    mine = token("app", "public", ["a", "b"], ["c"])
    others = [("other", "public", ["a", "b"], ["c"]), ("app", "x", ["a", "b"], ["c"]), ("app", "public", ["a"], ["c"])]
    assert mine == token("app", "public", ["a", "b"], ["c"])
    assert mine not in [token(*other) for other in others]


def test_a_lock_is_said_with_its_time() -> None:
    """The time of reading grows with the rows."""
    assert str(Lock("ACCESS EXCLUSIVE", "public.x", 0.03)) == "ACCESS EXCLUSIVE on public.x, about 30 ms"
    assert scan_seconds(10_000_000) > 100 * scan_seconds(0)
    assert PLAIN.default is None
    assert MONTHS.default == DEFAULT
