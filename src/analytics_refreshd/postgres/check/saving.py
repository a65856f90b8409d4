"""Whether the incremental mode would pay here."""

from collections.abc import Iterator

from psycopg import sql

from analytics_refreshd.core.savings import Workload, saving
from analytics_refreshd.postgres.check.findings import Finding, ok, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting

_FILE = "check/saving.sql"
_NEEDED = {"runs", "installation"}


def saving_findings(connection: BoundedConnection, app_schema: str) -> Iterator[Finding]:
    """Yield a finding on what plain refreshes cost.

    It is a warning where the incremental mode would pay. None in incremental mode, without our history, and where
    too little is known.
    """
    readable = {row[0] for row in connection.execute(trusting("state/status.sql"), {"app_schema": app_schema})}
    if not readable >= _NEEDED or connection.execute(blocks(_FILE)["mode"]).fetchone() != ("plain",):
        return
    found = saving(_workload(connection, app_schema))
    if found is None:
        return
    if found.pays:
        remedy = "read deploy/guides/incremental.md, then `analytics-refreshd migrate --incremental`"
        yield warning("mode", found.text, remedy)
    else:
        yield ok("mode", found.text)


def _workload(connection: BoundedConnection, app_schema: str) -> Workload:
    statements, schema = blocks(_FILE), {"schema": app_schema}
    runs, seconds, wal_bytes, blocks_read = connection.execute(statements["runs"]).fetchone() or (0, None, None, None)
    log_rows, writes = connection.execute(statements["log"], schema).fetchone() or (None, None)
    executions: int | None = None
    failures: int | None = None
    if connection.execute(blocks("state/outlook.sql")["hours_readable"], schema).fetchone() == (True,):
        hours = sql.SQL(statements["hours"]).format(hours=sql.Identifier(app_schema, "action_metrics_hourly"))
        executions, failures = connection.execute(hours).fetchone() or (None, None)
    # who inserts a row may update it later, and delete it in the end
    changes = None if executions is None else round(executions * max(1.0, writes or 1.0))
    return Workload(runs, seconds, wal_bytes, blocks_read, log_rows, changes, failures)
