"""Reads the action types' hours from the hourly view."""

from dataclasses import replace
from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.hour_series import HourCell
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.unusual import MOST_TYPES
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_TIMEOUT_SECONDS = 5.0
_MOST_CHARACTERS = 100


class PostgresHourCells:
    """`core.ports.HourCells` on the shared session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, since: datetime, until: datetime) -> list[HourCell]:
        """As `core.ports.HourCells.read`."""
        query = sql.SQL(blocks("state/hours.sql")["hour_cells"]).format(app=sql.Identifier(self._session.app_schema))

        def work(connection: BoundedConnection) -> list[HourCell]:
            cursor = connection.cursor(row_factory=class_row(HourCell))
            return cursor.execute(query, {"since": since, "until": until, "most": MOST_TYPES}).fetchall()

        cells = self._session.run(work, seconds=_TIMEOUT_SECONDS)
        return [replace(cell, action_type=printable(cell.action_type)[:_MOST_CHARACTERS]) for cell in cells]
