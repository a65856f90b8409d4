"""Builds the rollups in committed steps."""

from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.blocks import block
from analytics_refreshd.postgres.incremental.preflight import failures_named, installed_for, refuse_inexact
from analytics_refreshd.postgres.incremental.state import is_installed
from analytics_refreshd.postgres.incremental.transactions import transaction


@dataclass(frozen=True, slots=True)
class InstallProgress:
    """What an installation does, and the share done, 0 to 1."""

    doing: str
    share: float


Report = Callable[[InstallProgress], None]


def report_to_nobody(progress: InstallProgress) -> None:
    """Report to nobody."""


def rebuild(
    connection: Connection,
    app_schema: str = "public",
    *,
    reason: str | None = "on request",
    progress: Report | None = None,
) -> bool:
    """Build the rollups again in committed steps.

    With `reason` None, only where a rebuild mark or a crash requires it. Returns whether anything was built. The
    views follow with the next refresh. Raises MigrationError outside the incremental mode.
    """
    report = progress or report_to_nobody
    with failures_named():
        if not is_installed(connection):
            raise MigrationError("the incremental mode is not installed: there is nothing to rebuild")
        home = installed_for(connection, app_schema, to_change=False).home
        refuse_inexact(connection)
        if reason is not None:
            with transaction(connection, home):
                connection.execute(block("install", "mark", reason=sql.Literal(reason)))
        return build(connection, report, home)


def build(connection: Connection, report: Report, home: str) -> bool:
    """Build what needs building; return whether anything did."""
    steps = 0
    share = 0.0
    while share < 1:
        report(InstallProgress("build the rollups", share))
        with transaction(connection, home):
            row = connection.execute(block("install", "rebuild_step")).fetchone()
            needed = bool(row and row[1])
            share = float(row[0]) if row else 1.0
        steps += needed
    if steps:
        connection.execute(block("install", "vacuum"))
    report(InstallProgress("build the rollups", 1.0))
    return steps > 0
