"""Compares the rollups with the plain definitions, row by row."""

from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.errors import primary_text
from analytics_refreshd.postgres.incremental import horizon
from analytics_refreshd.postgres.incremental.commands import (
    VIEW_WITHOUT_ROLLUP,
    Commands,
    block,
    installed_query,
)
from analytics_refreshd.postgres.incremental.expected import expected_query
from analytics_refreshd.postgres.incremental.preflight import failures_named, installed_for, refuse_inexact
from analytics_refreshd.postgres.incremental.state import state
from analytics_refreshd.postgres.schema.definitions import Definitions, set_role
from analytics_refreshd.postgres.schema.differences import query_difference

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
    """What a verification found; `ok` where neither rows nor definitions differ.

    `problems` tell how installed views are not, a sentence each. `views` is empty in plain mode.
    """

    views: tuple[ViewDifference, ...]
    problems: tuple[str, ...] = ()

    @property
    def differences(self) -> int:
        """Count the rows that differ, missing and extra ones."""
        return sum(view.missing + view.extra for view in self.views)

    @property
    def ok(self) -> bool:
        """Whether rollups are exact, and the views read them as ours."""
        return self.differences == 0 and not self.problems


def verify(connection: Connection, app_schema: str = "public", *, first: int = 5) -> VerifyReport:
    """Compare the views with their plain definitions, and record the result.

    The installed definitions are compared first: what readers read, and not only what it should be. In plain mode that
    is all. Both are read at one snapshot: what the views would hold now, and what the plain definitions give.
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
    definitions = Definitions(app_schema, connection.info.server_version, redacted=found.redacted)
    problems = _definition_problems(connection, definitions, found.mode)
    if found.mode != "incremental":
        return VerifyReport((), problems)
    if not state(connection).built:
        raise MigrationError("the rollups are not built: there is nothing to verify")
    refuse_inexact(connection)
    pause = Event()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if horizon.is_used(connection) and horizon.late_rows_wait(connection):
                with connection.transaction():
                    connection.execute(block("install", "fold"))
            report = _compare(connection, definitions, first)
            break
        except psycopg.errors.SerializationFailure as error:
            if attempt == _ATTEMPTS:
                raise MigrationError(
                    f"other sessions folded at the same moment {_ATTEMPTS} times: verify again later"
                ) from error
        pause.wait(_PAUSE_SECONDS)
    values = {"ok": sql.Literal(report.differences == 0), "differences": sql.Literal(report.differences)}
    with connection.transaction():
        # a superuser writes it as the table's owner, whose triggers are that owner's
        connection.execute(set_role(found.home))
        connection.execute(block("verify", "record", **values))
    return replace(report, problems=problems)


def _definition_problems(connection: Connection, definitions: Definitions, mode: str) -> tuple[str, ...]:
    """Say how the installed views differ from ours, by what the server makes of both."""
    app, problems = definitions.app_schema, []
    commands = Commands(definitions)
    with connection.transaction(force_rollback=True):
        connection.execute(block("verify", "begin"))
        # the form of the program before is right too: `check` says what it lacks, and `migrate` renews it
        has_functions = connection.execute(block("install", "has_rows_functions")).fetchall()[0][0]
        former = connection.execute(commands.views_without_fold()).fetchall()[0][0] if has_functions else VIEWS
        for name in VIEWS:
            rollups = commands.query if name in former else commands.definition
            query = installed_query(definitions, name) if mode == "plain" else rollups(name)
            connection.execute(
                block("verify", "hold_view", holder=sql.Identifier("pg_temp", f"ours_{name}"), query=query)
            )
            values = {"ours": f"pg_temp.ours_{name}", "installed": sql.Identifier(app, name).as_string()}
            ours, installed = connection.execute(block("verify", "definitions"), values).fetchall()[0]
            if installed is None:
                problems.append(f"there is no materialized view {app}.{name}")
            elif ours != installed:
                problems.append(f"{app}.{name} is not ours: {query_difference(installed, ours)}")
    return tuple(problems)


def _compare(connection: Connection, definitions: Definitions, first: int) -> VerifyReport:
    commands = Commands(definitions)
    with connection.transaction(force_rollback=True):
        connection.execute(block("verify", "begin"))
        frozen = horizon.is_used(connection)
        if frozen and horizon.late_rows_wait(connection):
            # the fold below would add them, and be undone: nothing to compare them with is left then
            raise psycopg.errors.SerializationFailure("rows came before the horizon")
        held = _rollup_rows(connection, commands)
        differences = [
            _difference(
                connection, name, held.get(name), commands.query(name),
                expected_query(definitions, name, frozen=frozen), first,
            )
            for name in VIEWS
        ]  # fmt: skip
        differences += [_frozen_difference(connection)] if frozen else []
    return VerifyReport(tuple(differences))


def _frozen_difference(connection: Connection) -> ViewDifference:
    """Compare what is frozen with its checksum. Only the statements that keep that change it."""
    kept, found = horizon.checksums(connection)
    what = horizon.frozen(connection)
    differs = ((("extra", {"frozen_checksum": kept, "checksum of what is there": found})),) if kept != found else ()
    return ViewDifference("what is frozen", what.executions if what else 0, 0, len(differs), differs)


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
