"""A year of months, each frozen and then gone, by rows and by partitions: every figure stays."""

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from tests.support.horizon import connect, create_oracle, refresh_and_ask, total

Connection = psycopg.Connection[Any]

_MONTHS = 12
_ROWS_A_MONTH = int(os.environ.get("REFRESHD_TEST_YEAR_ROWS", "2000"))
_RETAINED = (
    "update analytics_refresh.incremental set retained = now() - %s::timestamptz + interval '23 hours 59 minutes'"
)
_ROWS = """
insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count)
select 'row ' || %(first)s + i, 'job', 'trigger ' || (random() * 19)::int,
    (array['rest', 'mcp', 'telegram'])[1 + i %% 3],
    (array['success', 'success', 'failed', 'retrying'])[1 + i %% 4],
    %(start)s::timestamptz + random() * (%(end)s::timestamptz - %(start)s::timestamptz),
    case when i %% 11 > 0 then (random() * 5000)::int end, i %% 5
from generate_series(1, %(count)s) i
"""


def _bounds() -> list[datetime]:
    """The first of each month, the oldest first, up to the one after this month."""
    bounds = [datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)]
    bounds = [bounds[0].replace(day=1)]
    while len(bounds) < _MONTHS + 4:
        bounds.append((bounds[-1] - timedelta(days=1)).replace(day=1))
    return bounds[::-1]


@pytest.fixture(params=["rows", "partitions"])
def year(
    request: pytest.FixtureRequest, databases: Callable[..., str], migrated_template: str
) -> Iterator[tuple[Connection, bool]]:
    """Rows of more than a year in incremental mode, in one table or a partition a month, with nothing frozen yet."""
    parted = request.param == "partitions"
    bounds = _bounds()
    with connect(databases(migrated_template)) as connection:
        connection.execute("select setseed(0.5)")
        connection.execute(
            "insert into triggers (id, organization_id)"
            " select 'trigger ' || i, case when i % 4 > 0 then 'org ' || i % 4 end from generate_series(0, 19) i"
        )
        if parted:
            connection.execute(
                "alter table action_results rename to old; create table action_results (like old including defaults)"
                " partition by range (executed_at); create index on action_results (id);"
                " create index on action_results (trigger_id); create index on action_results (executed_at);"
                " create table others partition of action_results default"
            )
            for start, end in pairwise(bounds):
                connection.execute(
                    f"create table month_{start:%Y_%m} partition of action_results for values from"
                    f" ('{start}') to ('{end}')"
                )
        for number, (start, end) in enumerate(pairwise(bounds)):
            values = {
                "first": number * 1_000_000,
                "start": start,
                "end": min(end, datetime.now(UTC)),
                "count": _ROWS_A_MONTH,
            }
            connection.execute(_ROWS, values)
        if parted:
            migrate(connection, recreate_views=True)
        incremental.install(connection, replace=parted, retention=Retention(1000 * 86400.0))
        create_oracle(connection)
        connection.execute("create index on oracle.action_results (id)")
        yield connection, parted


def _change(connection: Connection, step: int, since: datetime) -> None:
    """Changes of every kind in what is not frozen, and rows that come late."""
    chance = random.Random(step)
    now = datetime.now(UTC)
    values = {
        "first": 100_000_000 + step * 1_000_000,
        "start": since - timedelta(days=40),
        "end": now,
        "count": _ROWS_A_MONTH // 10,
    }
    connection.execute(_ROWS, values)
    for change in (
        "update action_results set status = 'success', duration_ms = 77 where hashtext(id || %s) %% 31 = 0",
        # within a month: row triggers, by which the oracle hears, call a move to another partition a deletion
        "update action_results set executed_at = executed_at + interval '9 hours' where hashtext(id || %s) %% 67 = 0"
        " and date_trunc('month', executed_at) = date_trunc('month', executed_at + interval '9 hours')",
        "update action_results set trigger_id = null, retry_count = 9 where hashtext(id || %s) %% 71 = 0",
        # as an erasure does
        "delete from action_results where hashtext(id || %s) %% 89 = 0",
        "update triggers set organization_id = 'org ' || length(%s) where hashtext(id) %% 5 = 0",
    ):
        connection.execute(change, [str(chance.random())])


@pytest.mark.nightly
def test_a_year_goes_month_by_month(year: tuple[Connection, bool]) -> None:
    """After every month 0 differences in hours, triggers and days, its rows deleted or its partition dropped."""
    connection, parted = year
    bounds = _bounds()
    for step, (start, end) in enumerate(pairwise(bounds[: _MONTHS + 1])):
        if step % 3 == 2:
            assert not refresh_and_ask(connection), step
            late_rows = "apply" if step % 2 else "ignore"
            connection.execute("update analytics_refresh.incremental set late_rows = %s", [late_rows])
        _change(connection, step, start)
        connection.execute(_RETAINED, [end])
        if step % 2:
            # whoever deletes does it before anything is frozen, once in a while
            connection.execute("delete from action_results where executed_at < %s", [end - timedelta(days=2)])
        assert not refresh_and_ask(connection), (step, "frozen")
        if parted:
            connection.execute(f"drop table month_{start:%Y_%m}")
        else:
            connection.execute("delete from action_results where executed_at < %s", [end])
        before = total(connection)
        assert not refresh_and_ask(connection), (step, "gone")
        assert total(connection) == before
        assert verify(connection).ok, step
    connection.execute("call analytics_refresh.rebuild('a test')")
    assert not refresh_and_ask(connection)
    assert verify(connection).ok
    (rows,) = connection.execute("select count(*) from action_results").fetchall()[0]
    assert rows < total(connection) / 3
