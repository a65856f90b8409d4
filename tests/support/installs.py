"""Databases in the states that a test needs: an older install, and views that can be held or made to fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

_FOLDER = Path(__file__).parent
Connection = psycopg.Connection[Any]


def _run(connection: Connection, file: str, app: str) -> None:
    text = (_FOLDER / file).read_text()
    names = {"app": sql.Identifier(app), "app_name": sql.Literal(app)}
    connection.execute(sql.SQL(text).format(**names))


def install_older(connection: Connection, app: str = "public") -> None:
    """Create the views and functions of an older install over the application's tables in `app`."""
    _run(connection, "older_install.sql", app)


def make_stretchable(connection: Connection, app: str = "public") -> None:
    """Rebuild the four views, ours or an older install's, so that `stretch` acts on them."""
    _run(connection, "stretch.sql", app)
    # these are nobody's hand-made views: `migrate` would note them as they are
    if connection.execute("select to_regclass('analytics_refresh.installation') is not null").fetchone() == (True,):
        connection.execute("update analytics_refresh.installation set views = null")


def stretch(
    connection: Connection,
    view: str,
    seconds: float = 0,
    *,
    message: str | None = None,
    sqlstate: str = "P0001",
    app: str = "public",
) -> None:
    """Make each refresh of `view` wait `seconds`, then fail with `message` and `sqlstate` if one is given."""
    statement = sql.SQL(
        "insert into {}.stretch (view_name, seconds, sqlstate, message) values (%s, %s, %s, %s)"
        " on conflict (view_name) do update set"
        " seconds = excluded.seconds, sqlstate = excluded.sqlstate, message = excluded.message"
    ).format(sql.Identifier(app))
    connection.execute(statement, (view, seconds, sqlstate, message))


@contextmanager
def temporary_role(connection: Connection, options: str = "login") -> Iterator[str]:
    """A role of a unique name that may connect; what it owns is dropped with it."""
    name = f"r_{uuid4().hex[:12]}"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("create role {} " + options).format(role))
    yield name
    connection.execute(sql.SQL("reassign owned by {} to current_user").format(role))
    connection.execute(sql.SQL("drop owned by {}").format(role))
    connection.execute(sql.SQL("drop role {}").format(role))


def put_older_function_back(connection: Connection, app: str = "public") -> None:
    """Replace our refresh function by an older install's, as a migration of the application's own would.

    It folds nothing, nor does what it refreshes: the views of an older program did not.
    """
    text = (_FOLDER / "older_install.sql").read_text()
    start = text.index("create function {app}.refresh_action_analytics()")
    function = text[start : text.index("create function {app}.get_analytics_refresh_status()")]
    schema = sql.Identifier(app)
    connection.execute(sql.SQL("drop function {}.refresh_action_analytics()").format(schema))
    connection.execute(sql.SQL(function).format(app=schema, app_name=sql.Literal(app)))
    off = "alter function {}.refresh_action_analytics() set analytics_refresh.fold = 'off'"
    connection.execute(sql.SQL(off).format(schema))
