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
    """Yield a finding where the log holds infinite times.

    It is an error where the triggers' view is of a definition that they stop. None where this role may not read the
    times.
    """
    statements = blocks("check/check.sql")
    readable = connection.execute(statements["executed_at_readable"], {"schema": app_schema}).fetchone()
    if not readable or not readable[0]:
        return
    row = connection.execute(_INFINITE.format(table=sql.Identifier(app_schema, "action_results"))).fetchone()
    if row is None or not row[0]:
        return
    found = f"{row[0]} rows of {app_schema}.action_results are dated infinity or -infinity: "
    # printed for a person, who may know the true times
    name = quoted(app_schema, "action_results")
    update = f"UPDATE {name} SET executed_at = NULL WHERE executed_at IN ('infinity', '-infinity');"  # noqa: S608
    held = connection.execute(statements["infinite_times_held"], {"schema": app_schema}).fetchone()
    if held and held[0]:
        yield warning("times", found + "hours_active of their triggers is null", update)
    else:
        stops = "a refresh of trigger_performance_summary fails with SQLSTATE 22008"
        yield error("times", found + stops, f"analytics-refreshd migrate --replace, or {update}")


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
