"""Reads where the frozen horizon is, as the role of the API."""

from psycopg.rows import tuple_row

from analytics_refreshd.postgres.catalogue.horizon import Horizon
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_FILE = "tenants/horizon.sql"


def knows_horizon(connection: BoundedConnection) -> bool:
    """Whether this role may read where the horizon is."""
    return connection.execute(blocks(_FILE)["readable"]).fetchall() == [(True,)]


def frozen_horizon(connection: BoundedConnection) -> Horizon | None:
    """Return the horizon, None where nothing is frozen. Raises psycopg.Error."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(blocks(_FILE)["horizon"], prepare=False).fetchall()
    return Horizon(*rows[0]) if rows else None
