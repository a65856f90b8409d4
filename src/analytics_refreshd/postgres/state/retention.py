"""Reads what `retain` recorded of its runs."""

from dataclasses import replace

from psycopg.rows import class_row

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.retention import End, LastRuns
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks


def last_runs(connection: BoundedConnection) -> LastRuns:
    """Read the last run, and when one last ended well. Raises psycopg.Error."""
    cursor = connection.cursor(row_factory=class_row(LastRuns))
    found = cursor.execute(blocks("state/retention.sql")["last_runs"]).fetchone()
    if found is None:
        return LastRuns()
    outcome = End(found.outcome) if found.outcome else None
    return replace(found, outcome=outcome, reason=printable(found.reason) if found.reason else None)
