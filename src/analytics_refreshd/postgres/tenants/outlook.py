"""Reads the days of what has a limit, as the API's role."""

from psycopg.rows import class_row, tuple_row

from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.outlook import LimitDays
from analytics_refreshd.core.trend import HISTORY_DAYS, DayFigure
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_FILE = "tenants/outlook.sql"


def limit_days(connection: Connection, min_executions: int) -> tuple[LimitDays, list[SizeSample]]:
    """Return the days and the database's sizes, for a platform administrator.

    Those of runs are None, and sizes none, where an older `migrate --tenants` made no functions for them. Raises
    psycopg.Error.
    """
    statements = blocks(_FILE)
    with connection.cursor(row_factory=tuple_row) as cursor:
        ((now, tells),) = cursor.execute(statements["readable"], prepare=False).fetchall()
    values = {"days": HISTORY_DAYS, "least": min_executions}
    with connection.cursor(row_factory=class_row(DayFigure)) as days:
        rates = days.execute(statements["rate_days"], values, prepare=False).fetchall()
        runs = days.execute(statements["run_days"], values, prepare=False).fetchall() if tells else None
    with connection.cursor(row_factory=class_row(SizeSample)) as cursor_of_sizes:
        sizes = cursor_of_sizes.execute(statements["sizes"], prepare=False).fetchall() if tells else []
    return LimitDays(now, runs, rates), sizes
