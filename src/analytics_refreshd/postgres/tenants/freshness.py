"""Reads each view's last success, as the role of the API."""

from datetime import datetime

from psycopg.rows import tuple_row

from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_FILE = "tenants/freshness.sql"


def records_successes(connection: BoundedConnection) -> bool:
    """Whether this role may read when the views were refreshed."""
    return connection.execute(blocks(_FILE)["readable"]).fetchall() == [(True,)]


def last_successes(connection: BoundedConnection, views: list[str]) -> dict[str, datetime]:
    """Return the last success of each view that has one. Raises psycopg.Error."""
    cursor = connection.cursor(row_factory=tuple_row)
    rows = cursor.execute(blocks(_FILE)["last_successes"], {"views": views}, prepare=False).fetchall()
    return {str(view): at for view, at in rows if at is not None}
