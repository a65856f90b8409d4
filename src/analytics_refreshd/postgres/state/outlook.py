"""Reads the days of what has a limit: how long refreshes took, and how many actions succeeded."""

from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.outlook import LimitDays
from analytics_refreshd.core.trend import HISTORY_DAYS, DayFigure
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting

_FILE = "state/outlook.sql"
_TIMEOUT_SECONDS = 2.0
"""A forecast is worth no more: others wait for the connection."""
_LOCK_SECONDS = 0.5


class PostgresLimitDays:
    """`core.outlook.LimitDaysReader` on the shared session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, min_executions: int) -> LimitDays:
        """As `core.outlook.LimitDaysReader.read`."""
        return self._session.run(
            lambda connection: limit_days(connection, self._session.app_schema, min_executions),
            seconds=_TIMEOUT_SECONDS,
            lock_seconds=_LOCK_SECONDS,
        )


def limit_days(connection: BoundedConnection, app_schema: str, min_executions: int) -> LimitDays:
    """Read the days. What is missing, or may not be read, is None."""
    statements = blocks(_FILE)
    (now,) = connection.execute(statements["now"]).fetchone() or (None,)
    assert isinstance(now, datetime)  # noqa: S101 - the server always knows
    readable = {row[0] for row in connection.execute(trusting("state/status.sql"), {"app_schema": app_schema})}
    runs = rates = None
    if {"runs", "view_results"} <= readable:
        runs = _days(connection, sql.SQL(run_days(statements["latest_days"])))
    if connection.execute(statements["hours_readable"], {"schema": app_schema}).fetchone() == (True,):
        hours = sql.SQL(statements["rate_days"]).format(hours=sql.Identifier(app_schema, "action_metrics_hourly"))
        rates = _days(connection, hours, min_executions)
    return LimitDays(now, runs, rates)


def run_days(among: str) -> str:
    """Return the query for days; `among` is its condition on runs."""
    history = blocks("state/history.sql")
    like_others = history["like_others"].format(among=history["days_not_thinned"])
    return blocks(_FILE)["run_days"].format(among=among, like_others=like_others)


def _days(connection: BoundedConnection, query: sql.SQL | sql.Composed, least: int = 0) -> list[DayFigure]:
    with connection.cursor(row_factory=class_row(DayFigure)) as cursor:
        return cursor.execute(query, {"days": HISTORY_DAYS, "least": least}).fetchall()
