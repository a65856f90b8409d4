"""`check` on intervals that cannot hold."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.core.model import VIEWS, Limits
from analytics_refreshd.postgres.check.run import CheckSettings, Finding, Level, run_checks
from tests.support.adapters import connector
from tests.support.faults import as_role, least_role

Connection = psycopg.Connection[Any]
OWN = Limits(view_interval_seconds={"recent_failures": 30.0}, shortest_interval_seconds=30.0)


def schedule(dsn: str, limits: Limits = OWN) -> list[Finding]:
    """What is found about intervals."""
    settings = CheckSettings(isolation="view", limits=limits)
    found = run_checks(connector(dsn), settings, lambda: datetime.now(UTC))
    return [finding for finding in found if finding.name == "schedule"]


def add_runs(connection: Connection, count: int, view: str, seconds: float, reason: str | None = None) -> None:
    """Runs of the last hour that refreshed a view, or were ended by a timeout."""
    connection.execute(
        "with made as (insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at,"
        " finished_at, outcome, duration_seconds, isolation) select gen_random_uuid(), 'd', 'r', 'schedule',"
        " now() - i * interval '1 minute', now(), case when %(why)s::text is null then 'ok' else 'timeout' end,"
        " %(seconds)s, 'view' from generate_series(1, %(count)s) i returning run_id)"
        " insert into analytics_refresh.view_results (run_id, view_name, success, reason, duration_seconds)"
        " select run_id, %(view)s, %(why)s::text is null, %(why)s, %(seconds)s from made",
        {"count": count, "view": view, "seconds": seconds, "why": reason},
    )


def test_an_interval_that_cannot_hold_is_told_with_the_smallest_that_would(dsn: str, connection: Connection) -> None:
    """The refreshes of an earlier configuration tell of the one that is to come."""
    add_runs(connection, 4, "recent_failures", 40.0)
    assert schedule(dsn) == []
    add_runs(connection, 1, "recent_failures", 40.0)
    (found,) = schedule(dsn)
    assert found.level is Level.WARNING
    assert found.text == (
        "a refresh of recent_failures takes 40 s of an interval of 30 s; the smallest interval that would hold is 50 s"
    )
    assert found.remedy == "read deploy/runbooks/AnalyticsTargetUnmeetable.md"
    (longer,) = schedule(dsn, Limits(view_interval_seconds={"recent_failures": 50.0}))
    assert (longer.level, longer.remedy) == (Level.OK, None)
    assert longer.text == "each view is refreshed within its interval: recent_failures in 40 s of 50 s"


@pytest.mark.slow
def test_a_view_that_times_out_or_waits_for_another_is_told(dsn: str, connection: Connection) -> None:
    """Without a single success the timeouts tell; a slow view tells of the frequent one that waits for it."""
    add_runs(connection, 9, "recent_failures", 24.01, "timeout")
    (cut_off,) = schedule(dsn)
    assert "takes 24 s or longer, since a timeout ends it, of an interval of 30 s" in cut_off.text
    connection.execute("delete from analytics_refresh.runs")
    add_runs(connection, 9, "recent_failures", 0.2)
    add_runs(connection, 9, VIEWS[0], 100.0)
    (waits,) = schedule(dsn)
    assert waits.text.startswith(f"while a run that refreshes {VIEWS[0]} takes 1 min 40 s, recent_failures gets 2 min ")


@pytest.mark.slow
def test_without_a_history_nothing_is_said_of_intervals(dsn: str, connection: Connection) -> None:
    """Who may not read the runs, and an older install, learn nothing from them."""
    add_runs(connection, 9, "recent_failures", 40.0)
    with least_role(connection) as role:
        assert len(schedule(as_role(dsn, role))) == 1
        revoke = sql.SQL("revoke select on analytics_refresh.view_results from {}")
        connection.execute(revoke.format(sql.Identifier(role)))
        assert schedule(as_role(dsn, role)) == []
    connection.execute("drop schema analytics_refresh cascade")
    assert schedule(dsn) == []
