"""REFRESH MATERIALIZED VIEW by itself, in incremental mode: exact, and no second fold in the refresh functions."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics_refreshd.app.commands.migrate import migrate
from analytics_refreshd.config import Config
from analytics_refreshd.core.evidence import ROLLUP_VIEWS
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.check.run import CheckSettings, Level, run_checks
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.installation import installation_problems, record_views
from tests.support.adapters import connector, refresher
from tests.support.incremental import Changes, differences, read_rollups_alone
from tests.support.installs import put_older_function_back, temporary_role
from tests.support.postgres import Server
from tests.support.states import NOW
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database in incremental mode with rows, and changes that wait."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        roll_up(connection)
    return dsn


@pytest.fixture
def plain_dsn(databases: Callable[..., str], migrated_template: str) -> str:
    """A fresh database without the incremental mode."""
    return databases(migrated_template)


@pytest.fixture
def plain(plain_dsn: str) -> Iterator[Connection]:
    """A connection to it."""
    with psycopg.connect(plain_dsn, autocommit=True, options="-c timezone=UTC") as opened:
        yield opened


def roll_up(connection: Connection) -> Connection:
    """Install the incremental mode over rows, and leave changes that wait."""
    changes = Changes(connection, 7)
    for _ in range(4):
        changes.insert()
    incremental.install(connection)
    for _ in range(6):
        changes.insert()
        changes.update()
    return connection


def refresh(connection: Connection, view: str, how: LiteralString = "") -> None:
    """Refresh one view by the bare statement."""
    connection.execute(sql.SQL("refresh materialized view " + how + "{}").format(sql.Identifier(view)))


@pytest.mark.quick
@pytest.mark.fault
@pytest.mark.parametrize("how", ["", "concurrently "])
@pytest.mark.parametrize("first", ROLLUP_VIEWS)
def test_L02_a_bare_refresh_is_exact(connection: Connection, how: LiteralString, first: str) -> None:
    """Whichever view comes first folds what waits; all are as their plain definitions."""
    with connection.transaction():
        refresh(connection, first, how)
        assert not differences(connection, views=[first])
    for view in VIEWS:
        refresh(connection, view, how)
    with connection.transaction():
        for view in VIEWS:
            refresh(connection, view, how)
        assert not differences(connection)
    assert verify(connection).ok


@pytest.mark.slow
@pytest.mark.fault
def test_L02_a_bare_refresh_rebuilds_where_it_must(connection: Connection) -> None:
    """After TRUNCATE the rollups are built anew within the statement."""
    connection.execute("truncate action_results")
    Changes(connection, 8).insert()
    with connection.transaction():
        for view in VIEWS:
            refresh(connection, view)
        assert not differences(connection)


@pytest.mark.slow
@pytest.mark.fault
def test_L02_the_functions_fold_once(connection: Connection) -> None:
    """A refresh of all views, and one of a single view, fold once, and leave the caller's setting as it was."""
    connection.execute("set track_functions = 'all'")
    setting = "select coalesce(current_setting('analytics_refresh.fold', true), '')"

    def folds() -> int:
        calls = "select calls from pg_stat_xact_user_functions where schemaname || funcname = 'analytics_refreshfold'"
        row = connection.execute(calls).fetchone()
        return int(row[0]) if row else 0

    for call in ("refresh_action_analytics()", "refresh_action_analytics_view('action_metrics_hourly')"):
        connection.execute("delete from action_results where id in (select id from action_results limit 1)")
        with connection.transaction():
            before = folds()
            connection.execute(sql.SQL("select success from {}").format(sql.SQL(call)))
            assert folds() == before + 1
            assert connection.execute(setting).fetchone() == ("",)
    assert not differences(connection, views=["action_metrics_hourly"])


@pytest.mark.slow
@pytest.mark.fault
def test_L02_an_older_function_over_these_views_is_exact(dsn: str, connection: Connection) -> None:
    """It refreshes by bare statements, so that it is right, and believed."""
    put_older_function_back(connection)
    connection.execute("alter function refresh_action_analytics() reset analytics_refresh.fold")
    with refresher(dsn) as refresh_all:
        reports = refresh_all.refresh(uuid4(), lambda pid: None).reports
    assert [report.success for report in reports] == [True] * 4
    assert incremental.state(connection).delta_rows == 0


@pytest.mark.slow
@pytest.mark.fault
def test_L02_a_bare_refresh_beside_a_function_ends_both(dsn: str, connection: Connection) -> None:
    """The function has folded and wants the view that the bare statement holds: that gives up and says so."""
    errors: list[str] = []

    def bare() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as other:
                refresh(other, "action_metrics_hourly", "concurrently ")
        except psycopg.errors.LockNotAvailable as error:
            errors.append(str(error.diag.message_primary))

    with psycopg.connect(dsn) as caller:
        caller.execute("select analytics_refresh.fold()")
        thread = threading.Thread(target=bare)
        thread.start()
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'refresh%'"
        eventually(lambda: errors or connection.execute(waiting).fetchone() == (1,))
        failed = caller.execute("select error_message from refresh_action_analytics() where not success").fetchall()
        caller.commit()
        thread.join(60)
    assert failed == []
    assert errors in ([], ["another session is refreshing: run this again, or use refresh_action_analytics()"])
    refresh(connection, "action_metrics_hourly")
    assert not differences(connection, views=["action_metrics_hourly"])


def give_rights(connection: Connection, owner: str, keeper: str) -> list[str]:
    """Give the views to `owner`, and MAINTAIN to `keeper` where there is that; return who may refresh."""
    for view in VIEWS:
        names = {"view": sql.Identifier(view), "owner": sql.Identifier(owner), "keeper": sql.Identifier(keeper)}
        connection.execute(sql.SQL("alter materialized view {view} owner to {owner}").format(**names))
        if connection.info.server_version >= 170000:
            connection.execute(sql.SQL("grant maintain, select on {view} to {keeper}").format(**names))
    # who owns a view reads what it reads
    connection.execute(sql.SQL("grant select on action_results to {}").format(sql.Identifier(owner)))
    return [owner, *([keeper] if connection.info.server_version >= 170000 else [])]


@pytest.mark.slow
@pytest.mark.fault
def test_L02_whoever_may_refresh_a_view_may_do_so_bare(plain_dsn: str, plain: Connection) -> None:
    """Its owner, and a role with MAINTAIN and no right of our schema, refresh with a fold."""
    with temporary_role(plain) as owner, temporary_role(plain) as keeper:
        roles = give_rights(plain, owner, keeper)
        roll_up(plain)
        more = Changes(plain, 9)
        # ids of its own
        more.rows = 1000
        for role in roles:
            more.insert()
            with psycopg.connect(make_conninfo(plain_dsn, user=role), autocommit=True) as other, other.transaction():
                for view in VIEWS:
                    refresh(other, view)
            assert incremental.state(plain).delta_rows == 0
            with plain.transaction():
                refresh(plain, "recent_failures")
                assert not differences(plain)


@pytest.mark.slow
@pytest.mark.fault
def test_L02_a_cycle_of_the_daemon_folds_once(dsn: str, connection: Connection) -> None:
    """Its four refreshes read views that fold, and none folds after the one fold of the run."""
    connection.execute("select pg_stat_reset()")
    connection.execute(
        sql.SQL("alter database {} set track_functions = 'all'").format(sql.Identifier(connection.info.dbname))
    )
    with refresher(dsn) as refresh_all:
        reports = refresh_all.refresh(uuid4(), lambda pid: None).reports
    assert [report.success for report in reports] == [True] * 4
    others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    eventually(lambda: connection.execute(others).fetchone() == (0,))
    calls = "select funcname, calls from pg_stat_user_functions where schemaname = 'analytics_refresh'"
    counted = dict(connection.execute(calls).fetchall())
    assert counted["fold"] == 1
    assert [counted[f"{view}_rows"] for view in ROLLUP_VIEWS] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.fault
def test_L02_migrate_replaces_views_of_an_older_program(dsn: str, connection: Connection) -> None:
    """They get the fold, and keep owner, grants, indexes and what depends on them; until then `check` says so."""

    def warnings() -> list[str]:
        found = run_checks(connector(dsn), CheckSettings(), lambda: NOW)
        return [each.text for each in found if (each.name, each.level) == ("incremental", Level.WARNING)]

    read_rollups_alone(connection)
    for view in ROLLUP_VIEWS:
        connection.execute(sql.SQL("drop function analytics_refresh.{}()").format(sql.Identifier(f"{view}_rows")))
    functions = "update analytics_refresh.incremental set functions = functions - %s::text[]"
    connection.execute(functions, [[f"analytics_refresh.{view}_rows()" for view in ROLLUP_VIEWS]])
    connection.execute(record_views("public"))
    connection.execute("grant select on action_metrics_hourly to public")
    connection.execute("create view on_it as select * from action_type_distribution")
    before = Catalog(connection, "public").objects("public")
    assert any(
        text.startswith("a bare REFRESH MATERIALIZED VIEW leaves old figures in action_m") for text in warnings()
    )
    # exact, and no fault of theirs, though nothing of the functions is there yet
    assert verify(connection).ok
    assert installation_problems(connection, "public", VIEWS, "incremental") == ()
    config = Config.model_validate({"database": {"url": dsn}})
    report = migrate(
        config, recreate_views=False, accept_publication=False, populating=lambda each: None, told=lambda each: None
    )
    assert {f"put the new view public.{view} in place" for view in ROLLUP_VIEWS} <= set(report.steps)
    after = Catalog(connection, "public").objects("public")
    assert after.indexes == before.indexes
    assert {name: (one.owner, one.columns) for name, one in after.views.items()} == {
        name: (one.owner, one.columns) for name, one in before.views.items()
    }
    grants = "select has_table_privilege('pg_monitor', 'action_metrics_hourly', 'select')"
    assert connection.execute(grants).fetchone() == (True,)
    assert connection.execute("select count(*) > 0 from on_it").fetchone() == (True,)
    assert not any(text.startswith("a bare REFRESH") for text in warnings())
    with connection.transaction():
        for view in VIEWS:
            refresh(connection, view)
        assert not differences(connection)
    assert verify(connection).ok
    again = migrate(
        config, recreate_views=False, accept_publication=False, populating=lambda each: None, told=lambda each: None
    )
    assert again.steps == ()


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize("jobs", ["1", "4"])
def test_L02_a_dump_restores_exact_views(
    server: Server, plain_dsn: str, plain: Connection, databases: Callable[..., str], tmp_path: Path, jobs: str
) -> None:
    """pg_restore fills the views by that same statement, in any order: no error, and nothing old in them.

    Whoever might refresh before the dump still can.
    """
    folder, target = tmp_path / "dump", databases()
    words = {
        "pg_dump": ["--format=directory", "--file", str(folder), "--dbname", plain_dsn],
        "pg_restore": ["--jobs", jobs, "--exit-on-error", "--dbname", target, str(folder)],
    }
    with temporary_role(plain) as owner, temporary_role(plain) as keeper:
        roles = give_rights(plain, owner, keeper)
        roll_up(plain)
        for program, arguments in words.items():
            command = [str(server.programs / program), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
        with psycopg.connect(target, autocommit=True, options="-c timezone=UTC") as restored:
            populated = "select count(*) from pg_class where relkind = 'm' and relispopulated"
            assert restored.execute(populated).fetchone() == (4,)
            more = Changes(restored, 9)
            # ids of its own
            more.rows = 1000
            for role in roles:
                more.insert()
                with psycopg.connect(make_conninfo(target, user=role), autocommit=True) as other:
                    for view in VIEWS:
                        refresh(other, view, "concurrently ")
                assert incremental.state(restored).delta_rows == 0
            with restored.transaction():
                for view in VIEWS:
                    refresh(restored, view, "concurrently ")
                assert not differences(restored)
            assert verify(restored).ok
            restored.execute(sql.SQL("drop owned by {}, {}").format(sql.Identifier(owner), sql.Identifier(keeper)))
