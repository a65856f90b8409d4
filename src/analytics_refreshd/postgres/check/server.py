"""Whether the server, its clock and the role are as the daemon needs them."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from analytics_refreshd.postgres.check.findings import Finding, error, ok, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.versions import TESTED_VERSIONS, too_old, untested

_CLOCK_WARNING_SECONDS = 5.0


def server_findings(
    connection: BoundedConnection, app_schema: str, connections: int, now: Callable[[], datetime]
) -> Iterator[Finding]:
    """Look at version, recovery, clock and role.

    One replica uses up to `connections`; `now` reads this machine's clock.
    """
    asked_at = now()
    cursor = connection.execute(blocks("check/check.sql")["server"], {"schema": app_schema})
    answered_at = now()
    found = dict(zip([column.name for column in cursor.description or ()], cursor.fetchone() or (), strict=True))
    yield version_finding(found["version_number"], found["version"])
    if found["in_recovery"]:
        yield error("server", "a standby: nothing can be refreshed here", "point [database] at the primary")
    yield _clock(asked_at, answered_at, found["server_now"])
    yield from _role(found, app_schema, connections)


def version_finding(version_number: int, version: str) -> Finding:
    """Say whether this version can be used: it is too old, tested, or newer than what was tested."""
    oldest, newest = TESTED_VERSIONS[0], TESTED_VERSIONS[-1]
    if too_old(version_number):
        return error("server", f"PostgreSQL {version} is too old", f"upgrade to PostgreSQL {oldest} or later")
    if untested(version_number):
        return warning(
            "server",
            f"PostgreSQL {version} is not tested: {oldest} to {newest} are",
            "try it on a copy of the database first; `pytest --dsn URL` runs this program's tests on such a server",
        )
    return ok("server", f"PostgreSQL {version}")


def _clock(asked_at: datetime, answered_at: datetime, server_now: datetime) -> Finding:
    middle = asked_at + (answered_at - asked_at) / 2
    seconds = (server_now - middle).total_seconds()
    if abs(seconds) <= _CLOCK_WARNING_SECONDS + (answered_at - asked_at).total_seconds() / 2:
        return ok("clock", f"this machine and the server differ by {abs(seconds):.1f} s")
    ahead = "ahead of" if seconds > 0 else "behind"
    return warning(
        "clock",
        f"the server's clock is {abs(seconds):.0f} s {ahead} this machine's: slots and log times will not agree",
        "synchronise both clocks (chrony, systemd-timesyncd)",
    )


def _role(found: dict[str, Any], app_schema: str, connections: int) -> Iterator[Finding]:
    role = quoted(found["role"])
    if found["superuser"]:
        yield warning(
            "role",
            f"{found['role']} is a superuser: the daemon needs far less",
            "make a role with deploy/sql/grants.sql and connect as it",
        )
    else:
        yield ok("role", f"{found['role']} is no superuser")
    if found["may_use_schema"] is None:
        yield error("role", f"there is no schema {app_schema}", "set [database] schema to the application's schema")
    elif not found["may_use_schema"]:
        yield error(
            "role", f"no USAGE on schema {app_schema}", f"GRANT USAGE ON SCHEMA {quoted(app_schema)} TO {role};"
        )
    if 0 <= found["connection_limit"] < connections:
        yield error(
            "role",
            f"its connection limit is {found['connection_limit']}, and one replica uses up to {connections}",
            f"ALTER ROLE {role} CONNECTION LIMIT {2 * connections};",
        )
    if not found["sees_sessions"]:
        yield warning(
            "role",
            "what a blocker of another role does stays hidden",
            f"GRANT pg_read_all_stats TO {role};",
        )
