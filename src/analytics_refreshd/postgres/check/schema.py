"""Whether our own schema is there, of the right version, and ours to write."""

from collections.abc import Iterator, Mapping, Sequence

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.check.findings import Finding, error, ok, warning
from analytics_refreshd.postgres.check.owners import owner_findings
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.incremental.state import state
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
_INCREMENTAL_RIGHTS = {"incremental": ("SELECT",), "deltas": ("SELECT",), "rebuild_marks": ("SELECT",)}
_STATE_CALLS = "analytics_refresh.capture_now("
_DAEMON_CALLS = "analytics_refresh.fold( analytics_refresh.rebuild_step( analytics_refresh.view_due("
_PAUSE_CALLS = "analytics_refresh.pause( analytics_refresh.resume("
_MIGRATE = "run `analytics-refreshd migrate`"


def our_schema_findings(connection: BoundedConnection, app_schema: str) -> Iterator[Finding]:
    """Findings on the schema `analytics_refresh`, and on what acts with its owner's rights."""
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
    lacking, absent = _missing(connection, _RIGHTS)
    if absent:
        names = ", ".join(sorted(absent))
        yield error("schema", f"{OUR_SCHEMA} lacks {names}: records wait in memory", _MIGRATE)
    for table, privileges in lacking.items():
        yield error("schema", *_grant(table, privileges, role))
    if not absent & {"schema_version"} and "schema_version" not in lacking:
        yield _version(connection)
    yield from _uncallable(connection, "pause", _PAUSE_CALLS, "this role cannot pause and resume", role)
    if not absent and not lacking:
        yield from _incremental(connection, role)
        yield from _pause(connection)


def _missing(
    connection: BoundedConnection, rights: Mapping[str, Sequence[str]]
) -> tuple[dict[str, list[str]], set[str]]:
    """The privileges that this role lacks, by table, and the tables that are not there."""
    pairs = [(table, privilege) for table, privileges in rights.items() for privilege in privileges]
    parameters = {"relations": [pair[0] for pair in pairs], "privileges": [pair[1] for pair in pairs]}
    lacking: dict[str, list[str]] = {}
    absent: set[str] = set()
    for table, privilege, exists in connection.execute(blocks("check/check.sql")["missing_rights"], parameters):
        if exists:
            lacking.setdefault(table, []).append(privilege)
        else:
            absent.add(table)
    return lacking, absent


def _uncallable(connection: BoundedConnection, name: str, calls: str, consequence: str, role: str) -> Iterator[Finding]:
    """A warning for each function named in `calls` that this role may not execute."""
    for (signature,) in connection.execute(blocks("check/check.sql")["uncallable"], {"sources": [calls]}).fetchall():
        grant = f"GRANT EXECUTE ON FUNCTION {signature} TO {role};"
        yield warning(name, f"no EXECUTE on {signature}: {consequence}", grant)


def _grant(table: str, privileges: Sequence[str], role: str) -> tuple[str, str]:
    rights = ", ".join(privileges)
    return f"no {rights} on {OUR_SCHEMA}.{table}", f"GRANT {rights} ON {OUR_SCHEMA}.{table} TO {role};"


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


def _incremental(connection: BoundedConnection, role: str) -> Iterator[Finding]:
    mode = connection.execute(blocks("state/status.sql")["mode"]).fetchone()
    if mode != ("incremental",):
        return
    lacking, _ = _missing(connection, _INCREMENTAL_RIGHTS)
    for table, privileges in lacking.items():
        yield warning("incremental", *_grant(table, privileges, role))
    uncallable = list(_uncallable(connection, "incremental", _STATE_CALLS, "the backlog stays unknown", role))
    uncallable += _uncallable(connection, "incremental", _DAEMON_CALLS, "the views over rollups fail", role)
    yield from uncallable
    if lacking or uncallable:
        return
    found = state(connection)
    for table in found.uncaptured:
        yield error(
            "incremental",
            f"not all changes of {printable(table)} are captured",
            "run `analytics-refreshd migrate --incremental` again",
        )
    if found.verified_ok is False:
        yield error(
            "incremental",
            f"the last verification found {found.verified_differences} differing rows",
            "keep what `migrate --verify` prints, then `analytics-refreshd migrate --verify --rebuild`",
        )
    overdue = connection.execute(blocks("check/check.sql")["verification_overdue"]).fetchone()
    if overdue is not None and overdue[1]:
        lately = "not" if overdue[0] is None else f"not since {overdue[0]:%Y-%m-%d %H:%M} UTC"
        yield warning(
            "incremental",
            f"the rollups were {lately} compared with the plain definitions",
            "run `analytics-refreshd migrate --verify`, daily by its timer or CronJob (deploy/guides/incremental.md)",
        )
    if found.rebuild_reason:
        yield warning("incremental", f"the next refresh rebuilds the rollups: {printable(found.rebuild_reason)}")
    if not found.uncaptured and found.verified_ok is not False:
        yield ok("incremental", f"{found.delta_rows} changed rows wait for the next refresh")


def _pause(connection: BoundedConnection) -> Iterator[Finding]:
    row = connection.execute(blocks("check/check.sql")["pause"]).fetchone()
    if row is not None:
        yield warning(
            "pause",
            f"refreshes are paused until {row[0]:%Y-%m-%d %H:%M} UTC: {printable(row[1])}",
            "`analytics-refreshd resume`",
        )
