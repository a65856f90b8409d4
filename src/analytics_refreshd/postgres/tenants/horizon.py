"""Reads where the frozen horizon is, as the role of the API."""

from collections.abc import Sequence

from psycopg.rows import tuple_row

from analytics_refreshd.postgres.catalogue.horizon import Horizon
from analytics_refreshd.postgres.connection.batch import Row, Statement
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_FILE = "tenants/horizon.sql"
HORIZON = Statement(blocks(_FILE)["horizon"])
"""Reads the horizon; no row where nothing is frozen."""


def knows_horizon(connection: BoundedConnection) -> bool:
    """Whether this role may read where the horizon is."""
    return connection.execute(blocks(_FILE)["readable"]).fetchall() == [(True,)]


def frozen_horizon(connection: BoundedConnection) -> Horizon | None:
    """Return the horizon, None where nothing is frozen. Raises psycopg.Error."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return horizon_of(cursor.execute(HORIZON.text, prepare=False).fetchall())


def horizon_of(rows: Sequence[Row]) -> Horizon | None:
    """Return the horizon that the rows of `HORIZON` tell."""
    return Horizon(*rows[0]) if rows else None
