"""Whether the last refresh of each view failed: what nothing else finds wrong may still not work."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from psycopg import sql

from analytics_refreshd.core.errors import is_permanent
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.check.findings import Finding, error, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting

_INFINITE = sql.SQL(
    "select count(*) from (select from {table} where executed_at in ('infinity', '-infinity') limit 1000) as found"
)
_NEEDED = {"runs", "view_results"}
_REMEDY = "see deploy/runbooks/AnalyticsRefreshFailed.md; `analytics-refreshd refresh` tries again now"


def infinite_findings(connection: BoundedConnection, app_schema: str) -> Iterator[Finding]:
    """Yield an error where the log holds infinite times: differences of them stop the triggers' view.

    None where this role may not read the times.
    """
    readable = connection.execute(blocks("check/check.sql")["executed_at_readable"], {"schema": app_schema}).fetchone()
    if not readable or not readable[0]:
        return
    table = sql.Identifier(app_schema, "action_results")
    row = connection.execute(_INFINITE.format(table=table)).fetchone()
    if row is not None and row[0]:
        name = quoted(app_schema, "action_results")
        yield error(
            "times",
            f"{row[0]} rows of {app_schema}.action_results are dated infinity or -infinity: a refresh of "
            "trigger_performance_summary fails with SQLSTATE 22008",
            # printed for a person, who may know the true times
            f"UPDATE {name} SET executed_at = NULL WHERE executed_at IN ('infinity', '-infinity');",  # noqa: S608
        )


def _last_results() -> str:
    return blocks("check/check.sql")["last_results"].format(newest=blocks("state/history.sql")["newest"])


def result_findings(connection: BoundedConnection, app_schema: str, views: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each view whose last recorded refresh failed.

    It is an error where waiting cannot help. None without our history, or without the right to read it.
    """
    readable = {row[0] for row in connection.execute(trusting("state/status.sql"), {"app_schema": app_schema})}
    if not readable >= _NEEDED:
        return
    rows = connection.execute(_last_results(), {"views": list(views)}).fetchall()
    for view, finished_at, _success, reason, sqlstate, text in rows:
        why = " ".join(filter(None, (sqlstate, reason, text and printable(text))))
        finding = f"the last refresh of {view} failed at {finished_at:%Y-%m-%d %H:%M:%S} UTC: {why or 'no text'}"
        known = None
        with suppress(ValueError):
            known = Reason(reason)
        yield (error if is_permanent(known, sqlstate) else warning)("last refresh", finding, _REMEDY)
