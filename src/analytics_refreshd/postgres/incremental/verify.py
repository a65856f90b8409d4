"""Compares the rollups with the plain definitions, row by row."""

from dataclasses import dataclass
from threading import Event
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.errors import primary_text
from analytics_refreshd.postgres.incremental.commands import VIEW_WITHOUT_ROLLUP, Commands, block, plain_query
from analytics_refreshd.postgres.incremental.preflight import failures_named, installed_for, refuse_inexact
from analytics_refreshd.postgres.incremental.state import state
from analytics_refreshd.postgres.schema.definitions import Definitions, set_role

_ATTEMPTS = 10
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ViewDifference:
    """How one view differs: rows that the rollups lack, and rows they have too many.

    `first` holds the first few of both, as pairs of `missing` or `extra` and the row as a JSON object.
    """

    view_name: str
    rows: int
    missing: int
    extra: int
    first: tuple[tuple[str, dict[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found; `ok` where no row differs."""

    views: tuple[ViewDifference, ...]

    @property
    def differences(self) -> int:
        """Count the rows that differ, missing and extra ones."""
        return sum(view.missing + view.extra for view in self.views)

    @property
    def ok(self) -> bool:
        """Whether the rollups are exact."""
        return self.differences == 0


def verify(connection: Connection, app_schema: str = "public", *, first: int = 5) -> VerifyReport:
    """Compare the views with their plain definitions, and record the result.

    Both are read at one snapshot: what the views would hold now, and what the plain definitions give.
    Takes as long as a plain refresh, and keeps nobody waiting but for the fold at its start. Where a rebuild is due,
    it includes that rebuild. Rows named in `first` may hold personal data. Raises MigrationError outside the
    incremental mode, where rights are missing, and where others fold so often that no snapshot can be had.
    """
    with failures_named():
        try:
            return _verify(connection, app_schema, first)
        except psycopg.errors.InsufficientPrivilege as error:
            raise MigrationError(
                f"{primary_text(error)}: role {connection.info.user} needs what deploy/sql/grants.sql grants "
                "with -v verify=1, run after migrate --incremental"
            ) from None


def _verify(connection: Connection, app_schema: str, first: int) -> VerifyReport:
    found = installed_for(connection, app_schema, to_change=False)
    if found.mode != "incremental" or not state(connection).built:
        raise MigrationError("the views are plain, or their rollups are not built: there is nothing to verify")
    definitions = Definitions(app_schema, connection.info.server_version)
    refuse_inexact(connection)
    pause = Event()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            report = _compare(connection, definitions, first)
            break
        except psycopg.errors.SerializationFailure as error:
            if attempt == _ATTEMPTS:
                raise MigrationError(
                    f"other sessions folded at the same moment {_ATTEMPTS} times: verify again later"
                ) from error
        pause.wait(_PAUSE_SECONDS)
    values = {"ok": sql.Literal(report.ok), "differences": sql.Literal(report.differences)}
    with connection.transaction():
        # a superuser writes it as the table's owner, whose triggers are that owner's
        connection.execute(set_role(found.home))
        connection.execute(block("verify", "record", **values))
    return report


def _compare(connection: Connection, definitions: Definitions, first: int) -> VerifyReport:
    commands = Commands(definitions)
    with connection.transaction(force_rollback=True):
        connection.execute(block("verify", "begin"))
        held = _rollup_rows(connection, commands)
        differences = [
            _difference(connection, name, held.get(name), commands.query(name), plain_query(definitions, name), first)
            for name in VIEWS
        ]
    return VerifyReport(tuple(differences))


def _rollup_rows(connection: Connection, commands: Commands) -> dict[str, bytes]:
    """Return what the rollups would give after a fold at this snapshot.

    The fold is rolled back, and its lock released.
    """
    held: dict[str, bytes] = {}
    with connection.transaction(force_rollback=True):
        connection.execute(block("install", "fold"))
        for name in VIEWS:
            # its rows may be wide, so they are compared on the server
            if name == VIEW_WITHOUT_ROLLUP:
                continue
            with connection.cursor().copy(block("verify", "copy_out", query=commands.query(name))) as copy:
                held[name] = b"".join(bytes(part) for part in copy)
    return held


def _difference(
    connection: Connection, name: str, rows: bytes | None, query: sql.Composed, plain: sql.Composed, first: int
) -> ViewDifference:
    """Compare `rows` of COPY, or else the rows of `query`, with those of `plain`."""
    tables = {
        "holder": sql.Identifier("pg_temp", f"rollup_{name}"),
        "plain": sql.Identifier("pg_temp", f"plain_{name}"),
    }
    if rows is None:
        connection.execute(block("verify", "hold", holder=tables["holder"], query=query))
    else:
        connection.execute(block("verify", "hold_none", holder=tables["holder"], query=query))
        with connection.cursor().copy(block("verify", "copy_in", holder=tables["holder"])) as copy:
            copy.write(rows)
    count = connection.execute(block("verify", "hold", holder=tables["plain"], query=plain)).rowcount
    found = connection.execute(block("verify", "compare", **tables, first=sql.Literal(first))).fetchall()
    count_by_side = {side: differing for side, differing, _ in found}
    examples = tuple((side, row) for side, _, row in found)
    return ViewDifference(name, count, count_by_side.get("missing", 0), count_by_side.get("extra", 0), examples)
