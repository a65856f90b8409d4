"""Queries over a span, in any time zone, against the rows."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind, run
from tests.integration.test_queries_cli import query as command
from tests.integration.test_queries_exact import insert
from tests.support.brute_force import ANSWERS, SETTINGS, Action, Data, Organization, Trigger

CATALOGUE = Catalogue.load()
VIEWS = ("action_metrics_hourly", "trigger_performance_summary", "recent_failures", "action_type_distribution")
HOUR = timedelta(hours=1)
SPANNED = [query.name for query in CATALOGUE if "until" in query.span_names]

# both changes of the clock, in zones that change at another hour, and where midnight is left out
YEAR = (datetime(2025, 8, 15, tzinfo=UTC), datetime(2026, 4, 30, tzinfo=UTC))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Pacific/Auckland")


def rows_of(since: datetime, until: datetime, number: int) -> Data:
    """Actions all over a stretch."""
    chance = random.Random(3)
    made = [
        Action(
            id=f"a{each}",
            trigger_id=chance.choice(["t1", "t2", None]),
            action_type=chance.choice(["rest", "mcp"]),
            status=chance.choice(["success", "failed", "retrying"]),
            executed_at=since + chance.random() * (until - since),
            duration_ms=chance.randint(0, 9000),
            error_message=chance.choice([None, "HTTP 502", "no answer"]),
            retry_count=chance.randint(0, 2),
        )
        for each in range(number)
    ]
    owned = {key: Trigger(key, "acme", key, True, since) for key in ("t1", "t2")}
    return Data(tuple(made), owned, {"acme": Organization("acme", "Acme", "pro")})


def whole(at: datetime, step: str, zone: ZoneInfo, *, up: bool) -> datetime:
    """The nearest hour, or first hour of a day, week or month of the zone, at or before `at`, or after it."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    hour += HOUR if up and hour < at else timedelta()

    def begins(one: datetime) -> bool:
        today, before = (each.astimezone(zone) for each in (one, one - HOUR))
        if step == "weeks":
            return today.isocalendar()[:2] != before.isocalendar()[:2]
        if step == "months":
            return today.month != before.month
        return step == "hours" or today.date() != before.date()

    while not begins(hour):
        hour += HOUR if up else -HOUR
    return hour


def compare(
    connection: psycopg.Connection[Any], data: Data, name: str, asked: tuple[datetime, datetime, str], now: datetime
) -> None:
    """Run a query over a span, and compare its bounds and rows with those that hours and rows tell."""
    found, zone = CATALOGUE.get(name), ZoneInfo(asked[2])
    assert found.window is not None
    given = dict(zip(("since", "until", "timezone"), asked, strict=True))
    result = run(connection, bind(found, given, None, now, "public", settings=SETTINGS), raw=True)
    since, until = (at if at.tzinfo else at.replace(tzinfo=zone) for at in asked[:2])
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if found.window.step:
        since = whole(since, found.window.step, zone, up=False)
        until = whole(until, found.window.step, zone, up=True)
        for _ in range(found.window.before):
            since = whole(since - HOUR, found.window.step, zone, up=False)
    assert (result.parameters["since"], result.parameters["until"]) == (since, until), (name, asked)
    defaults = {item.name: item.default for item in found.parameters}
    expected = ANSWERS[name](data, now, {**defaults, "since": since, "until": until, "zone": zone})
    assert len(result.rows) == len(expected), (name, asked, result.rows, expected)
    for got, wanted in zip(result.rows, expected, strict=True):
        for column, value, right in zip(result.columns, got, wanted, strict=True):
            assert right == value, (name, asked, column.name, got, wanted)


@pytest.mark.parametrize(
    "timezone",
    ["Europe/Berlin", *(pytest.param(zone, marks=pytest.mark.nightly) for zone in ZONES if zone != "Europe/Berlin")],
)
@pytest.mark.slow
def test_L28_a_span_equals_brute_force_in_its_zone(connection: psycopg.Connection[Any], timezone: str) -> None:
    """Days, weeks and hours of the day are those of the zone, also where the clock changes."""
    data = rows_of(*YEAR, 6_000)
    chance = random.Random(timezone)
    with connection.transaction(force_rollback=True):
        insert(connection, data)
        for view in VIEWS:
            connection.execute(f"refresh materialized view {view}")
        for name in SPANNED:
            if "failures" in CATALOGUE.get(name).relations:
                continue
            for _ in range(4):
                begin = YEAR[0] + timedelta(minutes=chance.randrange(330_000))
                end = begin + timedelta(minutes=chance.randrange(1, 28 * 1440))
                local = begin.astimezone(ZoneInfo(timezone)).replace(tzinfo=None, fold=0)
                since = local if chance.random() < 0.5 else begin
                compare(connection, data, name, (since, end, timezone), YEAR[1])


@pytest.mark.slow
def test_L28_failures_of_a_span_equal_brute_force(connection: psycopg.Connection[Any]) -> None:
    """Within the 24 hours that the view holds, and before, where rows are read; to the microsecond."""
    with connection.transaction(force_rollback=True):
        row = connection.execute("select now()").fetchone()
        assert row is not None
        now = row[0].astimezone(UTC)
        data = rows_of(now - timedelta(hours=300), now, 2_000)
        insert(connection, data)
        connection.execute("refresh materialized view recent_failures")
        for name in SPANNED:
            if "failures" in CATALOGUE.get(name).relations:
                for since_hours, until_hours in ((20, 3), (100, 3), (290, 200)):
                    since = now - timedelta(hours=since_hours, minutes=7)
                    until = now - timedelta(hours=until_hours, seconds=5)
                    compare(connection, data, name, (since, until, "Asia/Kolkata"), now)


def test_L28_the_command_takes_a_time_zone(dsn: str) -> None:
    """Times without an offset are read in it, tables show it, JSON stays in UTC; the list says what takes a span."""
    words = ("daily-trend", "--since", "2026-01-01", "--until", "2026-01-02", "--timezone", "Europe/Berlin")
    assert "2026-01-01 00:00:00+01:00" in command(dsn, *words).stdout
    answer = json.loads(command(dsn, *words, "--format", "json").stdout)
    assert (answer["since"], answer["timezone"]) == ("2025-12-31T23:00:00Z", "Europe/Berlin")
    assert [row["day"] for row in answer["rows"]] == ["2025-12-31T23:00:00Z"]
    refused = command(dsn, "top-organizations", "--timezone", "Europe/Berlin")
    assert refused.returncode == 2
    assert refused.stderr == "analytics-refreshd: top-organizations covers no span of time: it takes no --timezone\n"
    listed = json.loads(command(dsn, "--list", "--format", "json").stdout)
    assert {row["query"] for row in listed if row["span"]} == {*SPANNED, "idle-triggers"}
