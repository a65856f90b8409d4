"""What a refresh says that it cost, against what the server says."""

import json
from dataclasses import astuple
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.core.cost import Cost, total
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.refresh.measuring import cost_of_plan
from analytics_refreshd.postgres.refresh.refresher import PostgresRefresher
from tests.support.adapters import refresher
from tests.support.installs import install_older

Connection = psycopg.Connection[Any]
_CALL = "select * from refresh_action_analytics()"


def add(connection: Connection, rows: int) -> None:
    """Insert actions of the last ten days, each twentieth failed."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
        " select gen_random_uuid(), 'job', (array['rest', 'telegram', 'mcp'])[1 + i %% 3],"
        " case when i %% 20 = 0 then 'failed' else 'success' end, now() - i %% 240 * interval '1 hour', i %% 4000"
        " from generate_series(1, %s) i",
        [rows],
    )


def written(connection: Connection, pids: list[int]) -> int | None:
    """The WAL bytes that the server counts of the session; None before 18, and before the first refresh."""
    if not pids or connection.info.server_version < 180_000:
        return None
    row = connection.execute("select wal_bytes from pg_stat_get_backend_wal(%s)", [pids[0]]).fetchone()
    return int(row[0]) if row else None


def explained(connection: Connection) -> Cost:
    row = connection.execute(f"explain (analyze, buffers, wal, timing off, format json) {_CALL}").fetchone()
    cost = cost_of_plan(json.dumps(row[0]), 8192) if row else None
    assert cost is not None
    return cost


def touched(cost: Cost) -> int:
    """The blocks that were looked at, wherever they were."""
    return (cost.blocks_hit or 0) + (cost.blocks_read or 0)


def wal(cost: Cost) -> int:
    """The bytes of WAL, which must be known."""
    assert cost.wal_bytes is not None
    return cost.wal_bytes


def temporary(cost: Cost) -> int:
    """The temporary bytes, which must be known."""
    assert cost.temporary_bytes is not None
    return cost.temporary_bytes


def run(refresh: PostgresRefresher) -> RefreshReply:
    return refresh.refresh(uuid4(), lambda pid: None)


def changed(reply: RefreshReply) -> dict[str | None, int | None]:
    return {report.view: report.rows_changed for report in reply.reports}


@pytest.mark.parametrize("isolation", ["cycle", "view"])
def test_a_refresh_says_what_it_cost(dsn: str, connection: Connection, isolation: str) -> None:
    """The whole run has a cost; a view has one where it has a call of its own. Rows changed are known in both."""
    add(connection, 40)
    with refresher(dsn, isolation=isolation) as refresh:
        first, again = run(refresh), run(refresh)
    assert first.cost is not None
    assert None not in astuple(first.cost)
    assert (first.cost.wal_bytes or 0) > 1000
    assert changed(first)["action_type_distribution"] == 3
    assert (changed(first)["recent_failures"] or 0) > 0
    assert changed(again) == dict.fromkeys(VIEWS, 0)
    parts = [report.cost for report in first.reports]
    assert (total(parts) == first.cost) if isolation == "view" else (parts == [None] * 4)
    assert first.rows_folded is None


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["cycle", "view"])
def test_a_fold_says_how_many_changes_it_took(dsn: str, connection: Connection, isolation: str) -> None:
    """In incremental mode a run has the changes that it folded, and its cost has the fold's."""
    add(connection, 500)
    incremental.install(connection)
    with refresher(dsn, isolation=isolation) as refresh:
        run(refresh)
        add(connection, 120)
        reply, idle = run(refresh), run(refresh)
    assert (reply.rows_folded, idle.rows_folded) == (120, 0)
    assert reply.cost is not None
    if isolation == "view":
        views = total(report.cost for report in reply.reports)
        assert views is not None
        assert (reply.cost.wal_bytes or 0) > (views.wal_bytes or 0) > 0


@pytest.mark.slow
def test_the_cost_is_the_servers_own(dsn: str, connection: Connection) -> None:
    """It agrees with EXPLAIN of the function and, from 18 on, with what the server counts of the session."""
    # with what parallel workers read
    for setting in ("min_parallel_table_scan_size = 0", "parallel_setup_cost = 0", "parallel_tuple_cost = 0"):
        connection.execute(f"alter database {connection.info.dbname} set {setting}")
    add(connection, 60_000)
    told: list[tuple[Cost, Cost]] = []
    with refresher(dsn) as refresh, psycopg.connect(dsn, autocommit=True) as person:
        pids: list[int] = []
        for _ in range(3):
            add(connection, 300)
            before = written(connection, pids)
            reply = refresh.refresh(uuid4(), pids.append)
            assert reply.cost is not None
            if before is not None:
                # the server also counts the commit, which tells others of the tables that came and went
                commit = (written(connection, pids) or 0) - before - (reply.cost.wal_bytes or 0)
                assert 0 <= commit < 64 * 1024
            add(connection, 300)
            told.append((reply.cost, explained(person)))
    # the least of each: a checkpoint meanwhile adds whole pages, and the first ones build plans that the others find
    for figure in (wal, touched, temporary):
        ours, theirs = (min(figure(one) for one in side) for side in zip(*told, strict=True))
        assert ours == pytest.approx(theirs, rel=0.05)


def test_what_nobody_counts_is_unknown(dsn: str, connection: Connection) -> None:
    """Where the server counts no rows, those that changed are unknown, and never 0."""
    connection.execute(f"alter database {connection.info.dbname} set track_counts = off")
    add(connection, 40)
    with refresher(dsn) as refresh:
        assert changed(run(refresh)) == dict.fromkeys(VIEWS)


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["cycle", "view"])
def test_an_older_install_says_it_too(application_dsn: str, isolation: str) -> None:
    """Its function is measured as ours is. Where none is for one view alone, each one's cost is unknown."""
    with psycopg.connect(application_dsn, autocommit=True) as admin:
        install_older(admin)
        admin.execute(_CALL)
        add(admin, 40)
    with refresher(application_dsn, isolation=isolation) as refresh:
        reply = run(refresh)
    assert changed(reply)["action_type_distribution"] == 3
    assert (reply.cost is None) == (isolation == "view")
    assert [report.cost for report in reply.reports] == [None] * 4
