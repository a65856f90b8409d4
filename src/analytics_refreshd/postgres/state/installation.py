"""Whether what is installed is whole: asked by every evaluation, and by `check`."""

from psycopg import sql

from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_UNFINISHED = (
    "a switch of the mode was begun and not finished, and its triggers may go on noting changes that nothing folds: "
    "run `analytics-refreshd migrate --incremental` to go on, or `analytics-refreshd migrate --plain` to take it back"
)


def installation_problems(connection: Connection, mode: str | None) -> tuple[str, ...]:
    """Return what is wrong with what is installed, one sentence each.

    `mode` is that of our schema, None where there is none, or it cannot be read.
    """
    found = []
    if mode == "plain" and _is_true(connection, "unfinished"):
        found.append(_UNFINISHED)
    return tuple(found)


def _is_true(connection: Connection, name: str) -> bool:
    row = connection.execute(sql.SQL(blocks("state/installation.sql")[name])).fetchone()
    return bool(row and row[0])
