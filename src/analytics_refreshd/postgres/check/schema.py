"""Whether our own schema is there, of the right version, and ours to write."""

from collections.abc import Iterator

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.check.findings import Finding, error, ok, warning
from analytics_refreshd.postgres.check.owners import owner_findings
from analytics_refreshd.postgres.check.rights import grant, missing_rights, uncallable
from analytics_refreshd.postgres.check.rollups import incremental_findings
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, latest_version

_RIGHTS = {
    "schema_version": ("SELECT",),
    "installation": ("SELECT",),
    "last_refresh": ("SELECT", "INSERT", "UPDATE"),
    "runs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "view_results": ("SELECT", "INSERT", "UPDATE"),
    "alerts": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "deliveries": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "pauses": ("SELECT", "INSERT", "UPDATE"),
}
_PAUSE_CALLS = "analytics_refresh.pause( analytics_refresh.resume("
_MIGRATE = "run `analytics-refreshd migrate`"


def our_schema_findings(connection: BoundedConnection, app_schema: str, max_age_seconds: float) -> Iterator[Finding]:
    """Findings on the schema `analytics_refresh`, and on what acts with its owner's rights.

    Changes may wait for a fold for `max_age_seconds`.
    """
    statements = blocks("check/check.sql")
    findings, trusted = owner_findings(connection, app_schema)
    yield from findings
    usable = connection.execute(statements["our_schema"]).fetchone()
    if usable is None:
        yield warning(
            "schema",
            "no schema analytics_refresh: history and alert state live in memory and end with the process",
            _MIGRATE,
        )
        return
    if not trusted:
        return
    role = quoted(connection.info.user)
    if not usable[0]:
        yield error("schema", f"no USAGE on schema {OUR_SCHEMA}", f"GRANT USAGE ON SCHEMA {OUR_SCHEMA} TO {role};")
        return
    lacking, absent = missing_rights(connection, _RIGHTS)
    if absent:
        names = ", ".join(sorted(absent))
        yield error("schema", f"{OUR_SCHEMA} lacks {names}: records wait in memory", _MIGRATE)
    for table, privileges in lacking.items():
        yield error("schema", *grant(table, privileges, role))
    if not absent & {"schema_version"} and "schema_version" not in lacking:
        yield _version(connection)
        if "installation" not in absent | {*lacking} and _is_redacted(connection):
            yield ok("schema", "recent_failures stores error messages redacted, and no answers")
    yield from uncallable(connection, "pause", _PAUSE_CALLS, "this role cannot pause and resume", role)
    if not absent and not lacking:
        yield from incremental_findings(connection, app_schema, max_age_seconds)
        yield from _pause(connection)


def _version(connection: BoundedConnection) -> Finding:
    row = connection.execute(blocks("check/check.sql")["schema_version"]).fetchone()
    found, ours = int(row[0]) if row else 0, latest_version()
    if found < ours:
        return warning("schema", f"version {found}, and this program brings version {ours}", _MIGRATE)
    if found == ours:
        return ok("schema", f"version {found}")
    if found == ours + 1:
        return ok("schema", f"version {found}, one newer than this program's {ours}: it works with that")
    return error(
        "schema", f"version {found}, and this program knows up to {ours}", "install a newer analytics-refreshd"
    )


def _is_redacted(connection: BoundedConnection) -> bool:
    row = connection.execute(blocks("check/check.sql")["failures_redacted"]).fetchone()
    return bool(row and row[0])


def _pause(connection: BoundedConnection) -> Iterator[Finding]:
    row = connection.execute(blocks("check/check.sql")["pause"]).fetchone()
    if row is not None:
        yield warning(
            "pause",
            f"refreshes are paused until {row[0]:%Y-%m-%d %H:%M} UTC: {printable(row[1])}",
            "`analytics-refreshd resume`",
        )
