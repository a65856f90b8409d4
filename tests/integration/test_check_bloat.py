"""`check` on views that autovacuum does not keep small."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg

from analytics_refreshd.core.model import Limits
from analytics_refreshd.postgres.check.run import CheckSettings, Finding, Level, run_checks
from tests.support.adapters import connector

Connection = psycopg.Connection[Any]
VIEW = "trigger_performance_summary"
OWN = Limits(view_interval_seconds={VIEW: 30.0}, shortest_interval_seconds=30.0)


def bloat(dsn: str, limits: Limits = OWN) -> list[Finding]:
    """What is found about bloat."""
    settings = CheckSettings(isolation="view", limits=limits)
    found = run_checks(connector(dsn), settings, lambda: datetime.now(UTC))
    return [finding for finding in found if finding.name == "bloat"]


def add_refreshes(connection: Connection, rows: int, changed: int | None) -> None:
    """Ten refreshes of a view with so many rows."""
    connection.execute(
        "with made as (insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at,"
        " finished_at, outcome, duration_seconds, isolation) select gen_random_uuid(), 'd', 'r', 'schedule',"
        " now() - i * interval '30 seconds', now(), 'ok', 0.1, 'view' from generate_series(1, 10) i returning run_id)"
        " insert into analytics_refresh.view_results (run_id, view_name, success, duration_seconds, row_count,"
        " rows_changed) select run_id, %s, true, 0.1, %s, %s from made",
        [VIEW, rows, changed],
    )


def test_a_view_that_outgrows_autovacuum_is_told_with_what_helps(dsn: str, connection: Connection) -> None:
    """By the refreshes in history, the view's settings and the server's; the command that it prints is enough."""
    add_refreshes(connection, 10_000, None)
    assert bloat(dsn) == []
    connection.execute("delete from analytics_refresh.runs")
    add_refreshes(connection, 10_000, 19_000)
    (found,) = bloat(dsn)
    assert found.level is Level.WARNING
    assert "leaves 9,500 dead rows beside 10,000" in found.text
    assert "after 2 refreshes: it gets 2.9 times its size" in found.text
    assert found.remedy is not None
    server, _, own = found.remedy.partition(" SELECT pg_reload_conf(); ")
    assert server == "ALTER SYSTEM SET autovacuum_naptime = '15s';"
    # a visit each minute is enough at the default interval
    assert bloat(dsn, replace(OWN, view_interval_seconds={VIEW: 300.0})) == []
    connection.execute("delete from analytics_refresh.runs")
    add_refreshes(connection, 10_000, 4_000)
    minute = replace(OWN, view_interval_seconds={VIEW: 60.0})
    assert bloat(dsn, minute) == []
    connection.execute(f"alter materialized view {VIEW} set (autovacuum_vacuum_scale_factor = 1.5)")
    (late,) = bloat(dsn, minute)
    assert "after 8 refreshes: it gets 2.6 times its size" in late.text
    assert late.remedy == own
    connection.execute(own)
    assert bloat(dsn, minute) == []
    connection.execute(f"alter materialized view {VIEW} set (autovacuum_enabled = off)")
    (off,) = bloat(dsn, minute)
    assert "autovacuum is off" in off.text
    assert off.remedy is not None
    connection.execute(off.remedy.partition(";")[0])
    assert bloat(dsn, minute) == []
