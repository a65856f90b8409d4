"""What a reading can do without: a lock on it must not keep the rest from being read."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.wording import blocked_by
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.errors import fault_of
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.state.sessions import blocker_of

_Row = dict[str, Any]


def aside(connection: BoundedConnection, statement: str, parameters: dict[str, Any]) -> tuple[list[_Row], str | None]:
    """Read the rows of a statement in `status.sql`, or why not.

    It waits half a second for a lock at most. Raises psycopg.Error where the connection was lost.
    """
    statements = blocks("state/status.sql")
    try:
        text = statements[statement].format(newest=blocks("state/history.sql")["newest"])
        with connection.transaction():
            connection.execute(statements["brief_lock"])
            return connection.cursor(row_factory=dict_row).execute(text, parameters).fetchall(), None
    except psycopg.Error as error:
        if connection.closed:
            raise
        return [], fault_of(error, closed=False).message


def waiting_for(connection: BoundedConnection, function: str, schema: str, views: Sequence[str]) -> str:
    """Describe the lock that `function` waits for."""
    found, _ = aside(connection, "status_blocker", {"schema": schema, "views": list(views)})
    blocker = blocker_of(found)
    if blocker is None:
        return f"{function}() waits for a lock"
    return f"{function}() waits for a lock on {printable(found[0]['relname'])}: it {blocked_by(blocker)}"
