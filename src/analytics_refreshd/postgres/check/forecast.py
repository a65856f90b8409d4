"""When limits will be reached, if figures go on as in the weeks before."""

from collections.abc import Iterator, Mapping

from psycopg.rows import class_row

from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.outlook import Outlook, OutlookState, Quantity, day_outlooks, disk_outlook
from analytics_refreshd.postgres.check.findings import Finding, ok, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.state.outlook import limit_days

_REMEDIES: Mapping[Quantity, str] = {
    Quantity.REFRESH_TIME: "read deploy/guides/incremental.md, or raise [schedule] interval",
    Quantity.SUCCESS_RATE: "analytics-refreshd query success-rate",
    Quantity.DISK: "read deploy/runbooks/AnalyticsDiskFilling.md",
}


def forecast_findings(connection: BoundedConnection, app_schema: str, limits: Limits) -> Iterator[Finding]:
    """Yield a finding on each limit: refresh time, success rate, disk.

    It is a warning where the limit is reached within 30 days. None where too little is known, or may be read.
    """
    days = limit_days(connection, app_schema, limits.min_executions)
    found: list[Outlook | None] = [*day_outlooks(days, limits)]
    if days.refresh_seconds is not None and limits.disk_bytes is not None:
        with connection.cursor(row_factory=class_row(SizeSample)) as cursor:
            sizes = cursor.execute(blocks("state/outlook.sql")["sizes"]).fetchall()
        found.append(disk_outlook(sizes, limits, days.read_at))
    for outlook in found:
        if outlook is None or outlook.state is OutlookState.UNKNOWN:
            continue
        if outlook.soon:
            yield warning("forecast", outlook.text, _REMEDIES[outlook.quantity])
        else:
            yield ok("forecast", outlook.text)
