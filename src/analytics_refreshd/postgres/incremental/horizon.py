"""Turns the frozen horizon on and off, and says what is frozen."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from psycopg import sql

from analytics_refreshd.core.errors import MigrationError, UsageError
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.blocks import block
from analytics_refreshd.postgres.incremental.folding import frozen_checksum, organizations_known
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

    Takes as long as reading all of it. Raises MigrationError where an older program installed this.
    """
    refuse_older(connection)
    query = block("horizon", "compare_checksum", checksum=frozen_checksum())
    kept, found = connection.execute(query).fetchall()[0]
    return str(kept), str(found)


def refuse_older(connection: Connection) -> None:
    """Raise MigrationError where figures are frozen as an older program did it."""
    row = connection.execute(block("horizon", "lacks_days")).fetchone()
    if row and row[0]:
        raise MigrationError(
            "figures are frozen here as an older program did it: run `analytics-refreshd migrate` first"
        )


def knows_organizations(connection: Connection, app_schema: str) -> bool:
    """Whether days are frozen with their organizations.

    They are where whoever freezes can safely read the table of triggers.
    """
    known = organizations_known(app_schema)
    row = connection.execute(block("horizon", "knows_organizations", organizations_known=known)).fetchone()
    return bool(row and row[0])


def late_rows_wait(connection: Connection) -> bool:
    """Whether rows wait that the next fold adds to what is frozen."""
    row = connection.execute(block("horizon", "late_wait")).fetchone()
    return bool(row and row[0])


def frozen_partitions(connection: Connection) -> frozenset[tuple[str, str]]:
    """Return schema and name of each partition wholly before the horizon."""
    if not is_installed(connection):
        return frozenset()
    query = block("horizon", "frozen_partitions", bounded_before=block("horizon", "bounded_before"))
    return frozenset((str(schema), str(name)) for schema, name in connection.execute(query).fetchall())


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
