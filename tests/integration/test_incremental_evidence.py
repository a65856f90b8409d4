"""What a success in the incremental mode is believed by: a refresh that folded nothing is none, whoever says so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.model import VIEWS, Reason, ViewReport
from analytics_refreshd.postgres.incremental import install as incremental
from tests.support.adapters import Running, holding_refresh, refresher, status_reader
from tests.support.incremental import differences
from tests.support.installs import put_older_function_back, temporary_role
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]

ROLLUPS = frozenset(VIEWS) - {"recent_failures"}
BOTH = pytest.mark.parametrize("isolation", ["cycle", "view"])
_LIAR = """
create or replace function refresh_action_analytics() returns table (
    view_name text, refresh_duration_ms integer, rows_refreshed bigint, success boolean, error_message text)
language sql as $$select unnest(array['action_metrics_hourly', 'trigger_performance_summary', 'recent_failures',
    'action_type_distribution']), 1, 1::bigint, true, null::text$$
"""
_VIEW_LIAR = """
create or replace function refresh_action_analytics_view(
    inout view_name text, out refresh_duration_ms integer, out rows_refreshed bigint, out success boolean,
    out error_message text)
returns record language sql as $$select view_name, 1, 1::bigint, true, null::text$$
"""


def insert(connection: Connection, key: str) -> None:
    """Insert one row that every view over rollups shows."""
    connection.execute("insert into triggers (id) values ('t') on conflict do nothing")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, duration_ms, executed_at)"
        " values (%s, 'job', 't', 'rest', 'success', 5, now() - interval '2 hours')",
        [key],
    )


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database in incremental mode with a row, refreshed."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        insert(connection, "first")
        incremental.install(connection)
        connection.execute("select refresh_action_analytics()")
    return dsn


def refreshed(dsn: str, isolation: str = "cycle", **settings: Any) -> dict[str, ViewReport]:
    """One refresh by the daemon's adapter; its reports by view."""
    with refresher(dsn, isolation=isolation, **settings) as refresh:
        return {str(report.view): report for report in refresh.refresh(uuid4(), lambda pid: None).reports}


def believed(reports: dict[str, ViewReport]) -> set[str]:
    """The views that count as refreshed."""
    return {view for view, report in reports.items() if report.success}


@contextmanager
def open_writer(dsn: str, key: str) -> Iterator[Connection]:
    """A session that has written a row and not committed; the end of the block commits."""
    with psycopg.connect(dsn) as writer:
        insert(writer, key)
        yield writer
        writer.commit()


@pytest.mark.quick
@pytest.mark.fault
def test_L01_an_older_function_that_folds_nothing_is_not_believed(dsn: str, connection: Connection) -> None:
    """It refreshes all four views from rollups that lack the new row: three of them are not refreshed."""
    put_older_function_back(connection)
    insert(connection, "second")
    reports = refreshed(dsn)
    assert believed(reports) == {"recent_failures"}
    assert {reports[view].reason for view in ROLLUPS} == {Reason.CONTRACT}
    assert "left 1 changed rows out: run analytics-refreshd migrate" in str(reports["action_metrics_hourly"].error)


@pytest.mark.slow
@pytest.mark.fault
@BOTH
def test_L01_a_function_that_does_nothing_is_not_believed(dsn: str, connection: Connection, isolation: str) -> None:
    """It says success for all: not believed while a change waits, nor once the views could be old by time alone."""
    connection.execute(_LIAR)
    connection.execute(_VIEW_LIAR)
    insert(connection, "second")
    # with a transaction for each view the daemon folds by itself, and knows that no failure came
    assert believed(refreshed(dsn, isolation)) == ({"recent_failures"} if isolation == "view" else set())
    connection.execute("select analytics_refresh.fold()")
    connection.execute("update analytics_refresh.view_refreshes r set version = c.version"
                      " from analytics_refresh.view_changes c where c.view_name = r.view_name")  # fmt: skip
    assert believed(refreshed(dsn, isolation)) == (set(VIEWS) if isolation == "view" else set())


@pytest.mark.fault
@BOTH
def test_L01_a_failure_that_waits_for_a_fold_is_no_green_light(
    dsn: str, connection: Connection, isolation: str
) -> None:
    """Only the fold tells that recent_failures is due: without one nobody knows, and a liar is not believed."""
    connection.execute(_LIAR)
    connection.execute(_VIEW_LIAR)
    connection.execute(
        "insert into action_results (id, job_id, action_type, status) values ('f', 'j', 'rest', 'failed')"
    )
    reports = refreshed(dsn, isolation)
    assert "recent_failures" not in believed(reports)
    assert reports["recent_failures"].reason is Reason.CONTRACT
    told = "left 1 changed rows out" if isolation == "cycle" else "did not refresh the view"
    assert told in str(reports["recent_failures"].error)


@pytest.mark.fault
@BOTH
@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
@pytest.mark.slow
def test_L01_a_writer_that_commits_later_alarms_nobody(
    dsn: str, connection: Connection, isolation: str, level: str
) -> None:
    """What was committed before is folded, whatever the isolation level; an open writer's row is left to the next."""
    name = connection.info.dbname
    connection.execute(
        sql.SQL("alter database {} set default_transaction_isolation = {}").format(
            sql.Identifier(name), sql.Literal(level)
        )
    )
    with open_writer(dsn, "open"):
        insert(connection, "second")
        assert believed(refreshed(dsn, isolation)) == set(VIEWS)
    put_older_function_back(connection)
    connection.execute(_VIEW_LIAR)
    assert believed(refreshed(dsn)) == {"recent_failures"}


@pytest.mark.fault
def test_L01_a_writer_that_commits_meanwhile_alarms_nobody(dsn: str, connection: Connection) -> None:
    """A row committed between the fold and the end of the refresh waits for the next one, and the run is a success."""
    insert(connection, "before")
    waits = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    with open_writer(dsn, "open") as writer, refresher(dsn) as refresh:
        # after its fold, the refresh waits for this view
        with holding_refresh(dsn, "action_metrics_hourly"):
            running = Running(refresh)
            assert running.started.wait(60)
            eventually(lambda: connection.execute(waits, running.pids[:1]).fetchone() == (True,))
            writer.commit()
            insert(connection, "second")
        reply = running.join(60).reply
    assert reply is not None
    assert [report.success for report in reply.reports] == [True] * 4
    assert incremental.state(connection).delta_rows == 2


@pytest.mark.fault
@pytest.mark.parametrize(
    "change",
    ["truncate action_results", "create table child () inherits (action_results)"],
    ids=["a rebuild that is due", "another table"],
)
@pytest.mark.slow
def test_L01_rollups_that_must_be_rebuilt_are_not_believed(dsn: str, connection: Connection, change: str) -> None:
    """A function that skips a rebuild leaves the rollups of rows that are gone, or not there yet."""
    put_older_function_back(connection)
    connection.execute(sql.SQL(change))
    assert believed(refreshed(dsn)) == {"recent_failures"}


@pytest.mark.fault
@BOTH
@pytest.mark.slow
def test_L01_what_cannot_be_verified_is_not_believed(dsn: str, connection: Connection, isolation: str) -> None:
    """A lock on our tables is named as such and breaks no contract; a right that is missing names the grants."""
    connection.execute(_LIAR)
    connection.execute(_VIEW_LIAR)
    insert(connection, "second")
    with psycopg.connect(dsn) as holder:
        holder.execute("lock table analytics_refresh.incremental, analytics_refresh.deltas")
        reports = refreshed(dsn, isolation, lock_timeout_seconds=0.2)
        holder.rollback()
    assert not believed(reports) & ROLLUPS
    assert {reports[view].reason for view in ROLLUPS} == {Reason.LOCK_TIMEOUT}
    with temporary_role(connection) as role:
        for grant in (
            "usage on schema public, analytics_refresh", "select on analytics_refresh.installation",
            "execute on all functions in schema public",
        ):  # fmt: skip
            connection.execute(sql.SQL(f"grant {grant} to {{}}").format(sql.Identifier(role)))
        reports = refreshed(make_conninfo(dsn, user=role), isolation)
    assert not believed(reports) & ROLLUPS
    assert {reports[view].reason for view in ROLLUPS} == {Reason.PERMISSION}
    assert "deploy/sql/grants.sql" in str(reports["action_metrics_hourly"].error)


@pytest.mark.fault
@pytest.mark.slow
def test_L01_without_our_function_a_fold_that_failed_is_not_believed(dsn: str, connection: Connection) -> None:
    """Views refreshed by a plain statement each hold old rows where the fold before them failed."""
    connection.execute("drop function refresh_action_analytics_view(text)")
    insert(connection, "second")
    with psycopg.connect(dsn) as holder:
        holder.execute("lock table analytics_refresh.duration_counts")
        reports = refreshed(dsn, "view", lock_timeout_seconds=0.2)
        holder.rollback()
    assert believed(reports) == {"recent_failures"}
    assert believed(refreshed(dsn, "view")) == set(VIEWS)
    assert differences(connection) == {}


@pytest.mark.slow
def test_tables_of_an_older_program_are_given_their_columns(dsn: str, connection: Connection) -> None:
    """Before it, a refresh is verified without them; writers and folds of either go on; what waits is folded."""
    for table, column in (("deltas", "xid"), ("rebuild_marks", "xid"), ("incremental", "functions")):
        connection.execute(sql.SQL(f"alter table analytics_refresh.{table} drop column {column}"))
    insert(connection, "second")
    assert believed(refreshed(dsn)) == set(VIEWS)
    with status_reader(dsn) as reader:
        assert reader.delta().waiting is None
    insert(connection, "third")
    incremental.install(connection)
    insert(connection, "fourth")
    dated = connection.execute("select xid is null from analytics_refresh.deltas order by 1").fetchall()
    assert dated == [(False,), (True,)]
    assert believed(refreshed(dsn)) == set(VIEWS)
    assert differences(connection) == {}


def test_changes_seen_waiting_are_told_from_later_ones(dsn: str, connection: Connection) -> None:
    """The first reading dates them; later changes do not hide them; a fold ends it, and a late writer starts anew."""
    with status_reader(dsn) as reader, open_writer(dsn, "open"):
        assert reader.delta().waiting is None
        insert(connection, "second")
        first = reader.delta().waiting
        assert first is not None
        insert(connection, "third")
        assert reader.delta(first).waiting == first
        connection.execute("select analytics_refresh.fold()")
        assert reader.delta(first).waiting is None
    with status_reader(dsn) as reader:
        later = reader.delta(first).waiting
        assert later is not None
        assert later.seen_at > first.seen_at
