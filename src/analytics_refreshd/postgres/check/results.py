"""Whether the last refresh of each view failed: what nothing else finds wrong may still not work."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from analytics_refreshd.core.errors import is_permanent
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.check.findings import Finding, error, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting

_NEEDED = {"runs", "view_results"}
_REMEDY = "see deploy/runbooks/AnalyticsRefreshFailed.md; `analytics-refreshd refresh` tries again now"


def result_findings(connection: BoundedConnection, app_schema: str, views: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each view whose last recorded refresh failed.

    It is an error where waiting cannot help. None without our history, or without the right to read it.
    """
    readable = {row[0] for row in connection.execute(trusting("state/status.sql"), {"app_schema": app_schema})}
    if not readable >= _NEEDED:
        return
    rows = connection.execute(blocks("check/check.sql")["last_results"], {"views": list(views)}).fetchall()
    for view, finished_at, _success, reason, sqlstate, text in rows:
        why = " ".join(filter(None, (sqlstate, reason, text and printable(text))))
        finding = f"the last refresh of {view} failed at {finished_at:%Y-%m-%d %H:%M:%S} UTC: {why or 'no text'}"
        known = None
        with suppress(ValueError):
            known = Reason(reason)
        yield (error if is_permanent(known, sqlstate) else warning)("last refresh", finding, _REMEDY)
