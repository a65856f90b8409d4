"""`check` on what refreshes cost, and `check --queries` on the slowest statements."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.core.model import Limits
from analytics_refreshd.postgres.check.run import CheckSettings, Finding, Level, run_checks
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.adapters import connector, refresher
from tests.support.daemon import command
from tests.support.faults import as_role, least_role
from tests.support.postgres import DEBIAN_15, Server

Connection = psycopg.Connection[Any]
_HOURS = "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)" + (
    " select gen_random_uuid(), 'j', 'rest', 'success', now() - i % 20 * interval '1 hour' - interval '1 hour', i"
    " from generate_series(1, 2000) i"
)


def mode(dsn: str) -> list[Finding]:
    found = run_checks(connector(dsn), CheckSettings(), lambda: datetime.now(UTC))
    return [finding for finding in found if finding.name == "mode"]


def add_runs(connection: Connection, count: int, seconds: float) -> None:
    """Runs of the last day that refreshed every view."""
    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome,"
        " duration_seconds, wal_bytes) select gen_random_uuid(), 'd', 'r', 'schedule',"
        " now() - i * interval '5 minutes', now(), 'ok', %s, 6000000 from generate_series(1, %s) i",
        [seconds, count],
    )


def test_the_mode_that_pays_is_named_with_this_databases_figures(dsn: str, connection: Connection) -> None:
    """Slow plain refreshes are a warning with a remedy; cheap ones are fine."""
    connection.execute(_HOURS)
    connection.execute("analyze action_results")
    connection.execute("select * from refresh_action_analytics()")
    assert mode(dsn) == []
    add_runs(connection, 250, 9.0)
    (slow,) = mode(dsn)
    assert slow.level is Level.WARNING
    assert slow.text.startswith("250 plain refreshes in 24 h took 9.0 s each, 5.7 MiB of WAL, 37 min 30 s in all")
    assert "of about 2,000: the incremental mode would take about" in slow.text
    assert "migrate --incremental" in (slow.remedy or "")
    connection.execute("update analytics_refresh.runs set duration_seconds = 0.2")
    (cheap,) = mode(dsn)
    assert (cheap.level, cheap.remedy) == (Level.OK, None)


@pytest.mark.slow
def test_the_mode_is_not_judged_in_incremental_mode_or_on_an_older_history(dsn: str, connection: Connection) -> None:
    """A schema without columns for costs still has durations; the incremental mode has nothing to gain."""
    connection.execute(_HOURS)
    connection.execute("select * from refresh_action_analytics()")
    add_runs(connection, 20, 9.0)
    connection.execute("alter table analytics_refresh.runs drop column wal_bytes, drop column blocks_read")
    (finding,) = mode(dsn)
    assert "WAL" not in finding.text
    incremental.install(connection)
    assert mode(dsn) == []


def test_without_the_extension_it_is_said_how_to_get_it(dsn: str) -> None:
    """A server without pg_stat_statements is no error of ours: exit 0, and the steps."""
    shown = command(dsn, "check", "--queries")
    assert shown.returncode == 0, shown.stderr
    assert "shared_preload_libraries" in shown.stdout
    both = command(dsn, "check", "--queries", "--indexes")
    assert both.returncode == 64


@pytest.fixture(scope="module")
def counting() -> Iterator[Server]:
    """A PostgreSQL 15 that counts statements: the embedded ones do not bring the extension."""
    if not DEBIAN_15.exists():
        pytest.skip("PostgreSQL 15 is not installed")
    server = Server(programs=DEBIAN_15, settings={"shared_preload_libraries": "pg_stat_statements"}).start()
    try:
        create_application(server.dsn())
        with server.connect() as admin:
            migrate(admin)
            admin.execute(_HOURS)
        yield server
    finally:
        server.destroy()


@pytest.mark.slow
def test_the_slowest_statements_are_listed(counting: Server) -> None:
    """With the extension: those on the log alone, the slowest first, without a value of anybody's."""
    with counting.connect() as admin:
        without = command(counting.dsn(), "check", "--queries", "--format", "json")
        admin.execute("create schema watched")
        admin.execute("create extension pg_stat_statements schema watched")
        admin.execute("select pg_sleep(2), count(*) from action_results where id <> 'ann@example.org'")
        admin.execute("select count(*) from recent_failures")
        admin.execute("select pg_sleep(2.1), 'something else'")
    assert "not installed" in json.loads(without.stdout)["problem"]
    shown = command(counting.dsn(), "check", "--queries", "--format", "json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["problem"] is None
    assert found["since"] is not None
    queries = found["queries"]
    assert "count(*) from action_results" in queries[0]["query"]
    assert queries[0]["mean_ms"] > 1900
    assert queries[0]["cost"]["blocks_hit"] > 0
    assert [query["mean_ms"] for query in queries] == sorted((query["mean_ms"] for query in queries), reverse=True)
    assert not any("something else" in query["query"] or "example.org" in query["query"] for query in queries)
    table = command(counting.dsn(), "check", "--queries")
    assert "as pg_stat_statements counts them since 20" in table.stdout
    with counting.connect() as admin, least_role(admin) as role:
        admin.execute(f"grant usage on schema watched to {role}")
        refused = json.loads(command(as_role(counting.dsn(), role), "check", "--queries", "--format", "json").stdout)
    assert refused["problem"] is not None
    assert refused["remedy"].startswith("GRANT ")


@pytest.mark.slow
def test_on_15_a_refresh_has_its_own_cost(counting: Server) -> None:
    """No WAL of other sessions is in it: EXPLAIN counts this session's, on every version."""
    with counting.connect() as other, refresher(counting.dsn()) as refresh:
        refresh.refresh(uuid4(), lambda pid: None)
        quiet = refresh.refresh(uuid4(), lambda pid: None).cost

        def writes(pid: int) -> None:
            other.execute("create table noise as select repeat('x', 2000) as text from generate_series(1, 2000)")

        busy = refresh.refresh(uuid4(), writes).cost
    assert quiet is not None
    assert busy is not None
    assert busy.wal_bytes == pytest.approx(quiet.wal_bytes, rel=0.2)
    assert (busy.wal_bytes or 0) < 1_000_000


@pytest.mark.slow
def test_when_limits_are_reached(dsn: str, connection: Connection) -> None:
    """Refresh time, success rate and disk, by the days that this database remembers."""
    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome,"
        " duration_seconds, database_bytes) select gen_random_uuid(), 'd', 'r', 'schedule',"
        " date_trunc('day', now()) - i * interval '12 hours', now(), 'ok', 200 - 4 * (i / 2),"
        " case when i < 20 then 50000000000 - i * 1000000000::bigint end"
        " from generate_series(0, 41) i"
    )
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
        " select gen_random_uuid(), 'j', 'rest', case when i < 2 + d / 2 then 'failed' else 'success' end,"
        " date_trunc('day', now()) - (20 - d) * interval '1 day', 5"
        " from generate_series(0, 19) d, generate_series(1, 100) i"
    )
    connection.execute("select * from refresh_action_analytics()")
    limits = replace(Limits(), disk_bytes=60_000_000_000)
    settings = CheckSettings(limits=limits)
    found = [
        finding
        for finding in run_checks(connector(dsn), settings, lambda: datetime.now(UTC))
        if finding.name == "forecast"
    ]
    refresh, rate, disk = found
    assert "4.0 s more each day: the interval of 5 min is reached in about 2" in refresh.text
    assert "0.5 points less each day: success_rate_min, 90 %, is reached" in rate.text
    assert "1.9 GiB more each day: disk_bytes, 55.9 GiB, is reached in about" in disk.text
    assert {finding.level for finding in found} == {Level.WARNING}
    assert all(finding.remedy for finding in found)
