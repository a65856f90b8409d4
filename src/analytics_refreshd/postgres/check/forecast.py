"""When limits will be reached, if figures go on as in the weeks before."""

from collections.abc import Iterator
from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.outlook import Outlook, disk_outlook, rate_outlook, refresh_outlook
from analytics_refreshd.core.trend import HISTORY_DAYS, DayFigure
from analytics_refreshd.postgres.check.findings import Finding, ok, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting

_FILE = "check/forecast.sql"
_FOR_REFRESH = "read deploy/guides/incremental.md, or raise [schedule] interval"
_FOR_RATE = "analytics-refreshd query success-rate"
_FOR_DISK = "read deploy/runbooks/AnalyticsDiskFilling.md"


def forecast_findings(connection: BoundedConnection, app_schema: str, limits: Limits) -> Iterator[Finding]:
    """Yield a finding on each limit: refresh time, success rate, disk.

    It is a warning where the limit is reached within 30 days. None where too little is known, or may be read.
    """
    statements, schema = blocks(_FILE), {"schema": app_schema}
    (now,) = connection.execute(statements["now"]).fetchone() or (None,)
    assert isinstance(now, datetime)  # noqa: S101 - the server always knows
    readable = {row[0] for row in connection.execute(trusting("state/status.sql"), {"app_schema": app_schema})}
    if "runs" in readable:
        yield from _finding(
            refresh_outlook(_days(connection, sql.SQL(statements["run_days"])), limits, now), _FOR_REFRESH
        )
    if connection.execute(blocks("check/saving.sql")["hours_readable"], schema).fetchone() == (True,):
        hours = sql.SQL(statements["rate_days"]).format(hours=sql.Identifier(app_schema, "action_metrics_hourly"))
        yield from _finding(rate_outlook(_days(connection, hours, limits.min_executions), limits, now), _FOR_RATE)
    if "runs" in readable and limits.disk_bytes is not None:
        with connection.cursor(row_factory=class_row(SizeSample)) as cursor:
            sizes = cursor.execute(statements["sizes"]).fetchall()
        yield from _finding(disk_outlook(sizes, limits, now), _FOR_DISK)


def _days(connection: BoundedConnection, query: sql.SQL | sql.Composed, least: int = 0) -> list[DayFigure]:
    with connection.cursor(row_factory=class_row(DayFigure)) as cursor:
        return cursor.execute(query, {"days": HISTORY_DAYS, "least": least}).fetchall()


def _finding(outlook: Outlook | None, remedy: str) -> Iterator[Finding]:
    if outlook is not None:
        yield warning("forecast", outlook.text, remedy) if outlook.soon else ok("forecast", outlook.text)
