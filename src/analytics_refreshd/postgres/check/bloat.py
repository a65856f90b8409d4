"""Whether autovacuum comes often enough for views that are refreshed often."""

from collections.abc import Iterator, Mapping, Sequence

from psycopg.rows import dict_row

from analytics_refreshd.core.bloat import Autovacuum, Bloat, bloat, churn
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.snapshot import ViewRun
from analytics_refreshd.core.staleness import interval_seconds
from analytics_refreshd.postgres.check.findings import Finding, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_FOR_VIEW = "autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0"
_FOR_SERVER = "ALTER SYSTEM SET autovacuum_naptime = '15s'; SELECT pg_reload_conf();"


def bloat_findings(
    connection: BoundedConnection, app_schema: str, results: Mapping[str, Sequence[ViewRun]], limits: Limits
) -> Iterator[Finding]:
    """Yield a warning for each view that gets more than twice its size.

    `results` are those of each view's last runs.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(blocks("check/check.sql")["autovacuum"], {"schema": app_schema, "views": list(results)})
        settings = {row.pop("view"): Autovacuum(**row) for row in cursor.fetchall()}
    for view in results:
        typical = churn(results[view])
        if typical is None or view not in settings:
            continue
        found = bloat(view, typical, settings[view], interval_seconds(limits, view))
        if found is not None:
            yield warning("bloat", found.text, _remedy(quoted(app_schema, view), found))


def _remedy(name: str, found: Bloat) -> str:
    if found.refreshes is None:
        return f"ALTER MATERIALIZED VIEW {name} RESET (autovacuum_enabled); and, for the server, autovacuum = on"
    command = f"ALTER MATERIALIZED VIEW {name} SET ({_FOR_VIEW});"
    return f"{_FOR_SERVER} {command}" if found.lags else command
