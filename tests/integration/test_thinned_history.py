"""History of views that are refreshed often: what stays after two days, and how large that is."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.model import VIEWS, Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.postgres.state.history import PostgresHistory
from analytics_refreshd.postgres.state.outlook import PostgresLimitDays
from tests.support.adapters import session

Connection = psycopg.Connection[Any]
BEGAN = (datetime.now(UTC) - timedelta(days=3)).replace(hour=12, minute=0, second=0, microsecond=0)
FAST, SLOW = "recent_failures", "action_metrics_hourly"
MOST_BYTES = 100_000_000


@pytest.fixture
def history(dsn: str) -> Iterator[PostgresHistory]:
    """The history of a database without runs."""
    with session(dsn, name="shop") as shared:
        yield PostgresHistory(shared, seconds=60.0)


def record(
    history: PostgresHistory, seconds: float, *views: str, outcome: Outcome = Outcome.OK, **changes: Any
) -> float:
    """Write a run of three days ago, `seconds` after noon, in which these views were refreshed or not."""
    began = BEGAN + timedelta(seconds=seconds)
    good = outcome is Outcome.OK
    results = tuple(ViewResult(view, good, None if good else Reason.DATA, rows=7) for view in views)
    run = Run(uuid4(), Origin.SCHEDULE, began, began, began, outcome, replica="a", clock="daemon", views=results)
    history.finish(replace(run, **changes))
    return seconds


def kept(connection: Connection) -> list[float]:
    """How many seconds after noon each run began that is still there."""
    rows = connection.execute("select started_at from analytics_refresh.runs order by 1").fetchall()
    return [(at - BEGAN).total_seconds() for (at,) in rows]


def test_after_two_days_a_view_keeps_its_first_success_of_five_minutes(
    history: PostgresHistory, connection: Connection
) -> None:
    """So many runs stay as at the default interval, at which all do."""
    first = record(history, 0.2, FAST)
    record(history, 30.2, FAST)
    other = record(history, 60.2, FAST, SLOW)
    record(history, 90.2, FAST, SLOW)
    second = record(history, 300.2, FAST, SLOW)
    record(history, 330.2, SLOW)
    third = record(history, 600.2, FAST)
    young = record(history, 86_400.0 * 2, FAST), record(history, 86_400.0 * 2 + 30, FAST)
    assert [history.prune(timedelta(days=90), 2) for _ in range(3)] == [2, 1, 0]
    assert kept(connection) == [first, other, second, third, *young]
    left = "select count(*) from analytics_refresh.view_results"
    assert connection.execute(left).fetchone() == (8,)


@pytest.mark.slow
def test_what_tells_something_stays(history: PostgresHistory, connection: Connection) -> None:
    """Failures and what came after them, skipped slots, retries, runs of people, and the one with the size."""
    stays = [
        record(history, 0.0, FAST),
        record(history, 30.0, FAST, attempts=2),
        record(history, 60.0, FAST, origin=Origin.COMMAND),
        record(history, 90.0, outcome=Outcome.SKIPPED, reason=Reason.OVERLAP),
        record(history, 150.0, FAST),
        record(history, 180.0, FAST, outcome=Outcome.FAILED),
        record(history, 210.0, FAST),
    ]
    record(history, 120.0, FAST)
    connection.execute(
        "update analytics_refresh.runs set database_bytes = 1 where started_at = %s", [BEGAN + timedelta(seconds=150)]
    )
    assert history.prune(timedelta(days=90), 10) == 1
    assert kept(connection) == stays


def test_thinning_moves_no_figure_of_a_day(dsn: str, connection: Connection) -> None:
    """The forecast goes by runs that stay, so that days which were thinned compare with those that were not."""
    with session(dsn, name="shop") as shared:
        history, days = PostgresHistory(shared, seconds=60.0), PostgresLimitDays(shared)
        for minute in range(0, 60, 5):
            # one of three is slow: of those that stay, and of all runs one of thirty
            views, took = ((FAST, SLOW), 4.0) if minute % 15 == 0 else ((FAST,), 0.1)
            record(history, 60.0 * minute, *views, duration_seconds=took)
            for half in range(1, 10):
                record(history, 60.0 * minute + 30.0 * half, FAST, duration_seconds=0.1)
        record(history, 3600.0, FAST, outcome=Outcome.PARTIAL, duration_seconds=4.0)
        record(history, 3630.0, FAST, duration_seconds=4.0, origin=Origin.COMMAND)
        before = days.read(1).refresh_seconds
        assert history.prune(timedelta(days=90), 1000) == 108
        after = days.read(1).refresh_seconds
    assert before is not None
    assert [day.value for day in before] == [4.0]
    assert after == before


@pytest.mark.slow
def test_history_of_a_view_each_half_minute_stays_small(history: PostgresHistory, connection: Connection) -> None:
    """Ninety days of a view at 30 s, the others at 5 min: two days whole, 88 thinned, under 100 MB with indexes."""
    cost = Cost(wal_bytes=123_456, blocks_hit=12_345, blocks_read=123, temporary_bytes=12_345)
    results = tuple(
        ViewResult(view, True, rows=12_345, duration_seconds=0.123456, reported_seconds=0.123456,
                   observed_seconds=0.123456, finished_at=BEGAN, rows_changed=1234, cost=cost)
        for view in VIEWS
    )  # fmt: skip
    made = Run(
        uuid4(), Origin.SCHEDULE, BEGAN, BEGAN, BEGAN, Outcome.OK, duration_seconds=0.123456,
        lateness_seconds=0.001234, replica="analytics-refreshd-7c9f6d5b4-x2x7q", leader_epoch=2**33, isolation="view",
        views=results, rows_folded=1234, cost=cost,
    )  # fmt: skip
    history.begin(made)
    history.finish(made)
    connection.execute(_COPY.format(days=3.9, apart="30 seconds"), {"run_id": made.run_id})
    connection.execute("delete from analytics_refresh.runs where run_id = %s", [made.run_id])
    connection.execute("analyze analytics_refresh.runs, analytics_refresh.view_results")
    while history.prune(timedelta(days=90), 500) == 500:
        pass
    counted = connection.execute(
        "select count(*) filter (where old), count(*) filter (where not old) from (select started_at < now() -"
        " interval '2 days' from analytics_refresh.runs) as r (old)"
    ).fetchone()
    assert counted is not None
    assert 1.9 * 288 - 2 <= counted[0] <= 1.9 * 288 + 3
    assert 5750 < counted[1] <= 5760
    # 88 such days and more instead of two, and what was deleted left no more behind than one VACUUM finds
    connection.execute("vacuum (analyze) analytics_refresh.runs, analytics_refresh.view_results")
    connection.execute(_MORE)
    size = connection.execute(
        "select sum(pg_total_relation_size(name)) from unnest(array['analytics_refresh.runs',"
        " 'analytics_refresh.view_results']::regclass[]) as t (name)"
    ).fetchone()
    assert size is not None
    assert size[0] < MOST_BYTES


_ROW = (
    "run_id, database_name, replica, origin, scheduled_at, started_at, finished_at, outcome, duration_seconds,"
    " lateness_seconds, attempts, leader_epoch, owner_pid, owner_started_at, clock, isolation, rows_folded, wal_bytes,"
    " blocks_hit, blocks_read, temporary_bytes"
)
_RESULT = (
    "view_name, success, row_count, duration_seconds, reported_seconds, observed_seconds, finished_at, rows_changed,"
    " wal_bytes, blocks_hit, blocks_read, temporary_bytes"
)
_COPY = f"""
with slots as (
    select gen_random_uuid() as run_id, at from generate_series(
        date_bin('5 minutes', now() - {{days}} * interval '1 day', 'epoch'), now() - interval '1 second',
        interval '{{apart}}') as at),
copied as (
    insert into analytics_refresh.runs ({_ROW})
    select s.run_id, database_name, replica, origin, s.at, s.at, s.at, {_ROW.partition("finished_at, ")[2]}
    from slots s, analytics_refresh.runs r where r.run_id = %(run_id)s)
insert into analytics_refresh.view_results (run_id, {_RESULT})
select s.run_id, {_RESULT} from slots s, analytics_refresh.view_results v
where v.run_id = %(run_id)s and (v.view_name = '{FAST}' or date_bin('5 minutes', s.at, 'epoch') = s.at)
"""
"""Runs like one that is there: the frequent view in each, the others every five minutes."""
_MORE = f"""
with days as (
    select gen_random_uuid() as run_id, r.run_id as like_this, r.started_at - n * interval '2 days' as at
    from analytics_refresh.runs r, generate_series(1, 46) n
    where r.started_at < now() - interval '2 days' and r.outcome = 'ok'),
copied as (
    insert into analytics_refresh.runs ({_ROW})
    select d.run_id, database_name, replica, origin, d.at, d.at, d.at, {_ROW.partition("finished_at, ")[2]}
    from days d join analytics_refresh.runs r on r.run_id = d.like_this)
insert into analytics_refresh.view_results (run_id, {_RESULT})
select d.run_id, {_RESULT} from days d join analytics_refresh.view_results v on v.run_id = d.like_this
"""
