"""Turns the frozen horizon on and off, and says what is frozen."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from psycopg import sql

from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.blocks import block
from analytics_refreshd.postgres.incremental.folding import frozen_checksum
from analytics_refreshd.postgres.incremental.settings import Retention
from analytics_refreshd.postgres.incremental.transactions import transaction


@dataclass(frozen=True, slots=True)
class Frozen:
    """What is frozen: executions before `until` of so many triggers, the first at `since`."""

    until: datetime
    since: datetime | None
    executions: int
    triggers: int

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d}" if self.since else ""
        until = f"{self.until:%Y-%m-%d %H:%M} UTC"
        return f"{self.executions:,} executions of {self.triggers:,} triggers{since}, before {until}"


def is_installed(connection: Connection) -> bool:
    """Whether figures can be frozen in this database."""
    row = connection.execute(block("horizon", "installed")).fetchone()
    return bool(row and row[0])


def is_used(connection: Connection) -> bool:
    """Whether figures are frozen, or will be."""
    row = connection.execute(block("horizon", "can_advance")).fetchone() if is_installed(connection) else None
    return bool(row and row[0])


def checksums(connection: Connection) -> tuple[str, str]:
    """Return the checksum that is kept, and that of what is frozen.

    Takes as long as reading all of it.
    """
    query = block("horizon", "compare_checksum", checksum=frozen_checksum())
    kept, found = connection.execute(query).fetchall()[0]
    return str(kept), str(found)


def frozen(connection: Connection) -> Frozen | None:
    """Return what is frozen, None where nothing is."""
    if not is_installed(connection):
        return None
    row = connection.execute(block("horizon", "what")).fetchone()
    if row is None:
        return None
    until, since, executions, triggers = row
    return Frozen(until.astimezone(UTC), since.astimezone(UTC) if since else None, int(executions), int(triggers))


def refuse_discarding(connection: Connection, discard: date | None) -> None:
    """Raise UsageError where frozen figures would go.

    `discard`, the day of the horizon, lets them go.
    """
    found = frozen(connection)
    if found is None or found.until.date() == discard:
        return
    raise UsageError(
        f"frozen figures would go, and nothing could restore them: {found}; to let them go, say "
        f"--discard-frozen {found.until:%Y-%m-%d}"
    )


def apply(connection: Connection, home: str, retention: Retention | None) -> list[str]:
    """Let the horizon advance or stop; return what was done.

    What waits to be folded is folded first by the setting before.
    """
    if retention is None or not is_installed(connection):
        return []
    wanted = retention.rows_seconds
    with transaction(connection, home):
        found = connection.execute(block("horizon", "settings")).fetchone()
        if found is None or found[:2] == (wanted, retention.late_rows):
            return []
        if found[2]:
            connection.execute(block("install", "fold"))
        values = {"seconds": sql.Literal(wanted), "late_rows": sql.Literal(retention.late_rows)}
        connection.execute(block("horizon", "set", **values))
    if wanted is None:
        return ["stop the horizon: what is deleted from now on leaves the figures"]
    return [f"freeze the figures of rows older than {wanted / 86400 - 1:g} days"]
