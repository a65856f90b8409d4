"""The incremental mode: the views read rollups that are kept exact by captured changes.

States of an installation, in the order in which `install` passes through them; each is left by a commit, so an
interrupted installation goes on where it stopped: objects, triggers (from here on changes are captured), rollups
built in steps, views and functions replaced in one transaction. Until that last one, the views are the plain ones.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.definitions import FUNCTIONS, OUR_SCHEMA, STATUS_FUNCTION, Definitions, set_role
from analytics_refreshd.postgres.incremental_checks import (
    Found,
    SourceTable,
    failures_named,
    installed_for,
    refuse,
    source_tables,
    stray_tables,
)
from analytics_refreshd.postgres.incremental_sql import Commands, block
from analytics_refreshd.postgres.incremental_state import IncrementalState, is_installed, state
from analytics_refreshd.postgres.incremental_views import replace_functions, replace_views
from analytics_refreshd.postgres.steps import command

Connection = psycopg.Connection[Any]

__all__ = ["IncrementalState", "Progress", "install", "rebuild", "state", "uninstall_to_plain"]

# a queued CREATE TRIGGER makes every later writer wait with it: ask briefly, and again
_LOCK_ATTEMPTS = 60
# the same in both modes; in this one, migrate leaves it to an installation renewed
_LOCK_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an installation or a rebuild is: what it does, and the share of that done, 0 to 1."""

    doing: str
    share: float


def _ignore(progress: Progress) -> None:
    """Nobody wants to know."""


def install(
    connection: Connection, app_schema: str = "public", *, progress: Callable[[Progress], None] | None = None
) -> tuple[str, ...]:
    """Switch a plain installation to the incremental mode, or finish or renew one; returns what was done.

    `connection` is idle and in autocommit mode. Writers of `action_results` wait only while a trigger is created.
    Raises MigrationError, with nothing changed, where capture would miss rows or a view cannot be replaced, and where
    locks could not be had.
    """
    report = progress or _ignore
    done: list[str] = []
    with _alone(connection, app_schema) as found:
        definitions, commands = _definitions(connection, app_schema)
        _briefly(connection, _refuse, app_schema, commands, found)
        with _transaction(connection, found.home):
            for each in commands.objects():
                connection.execute(each)
        done += _release(connection, commands, report)
        for table in source_tables(connection, commands):
            if not table.captured:
                report(Progress(f"capture changes of {table.schema}.{table.name}", 0.0))
                _briefly(connection, _create_triggers, table)
                done.append(f"capture changes of {table.schema}.{table.name}")
            if table.holds_rows and _index_failures(connection, table, report):
                done.append(f"index the failures of {table.schema}.{table.name}")
        if _build(connection, report, found.home):
            done.append("build the rollups")
        if found.mode == "plain":
            done.append("put the views over the rollups in place")
        _briefly(connection, _to_rollups, app_schema, definitions, commands, found, report)
    return tuple(done)


def uninstall_to_plain(
    connection: Connection, app_schema: str = "public", *, progress: Callable[[Progress], None] | None = None
) -> tuple[str, ...]:
    """Go back to the plain views and drop everything of the incremental mode; returns what was done.

    Can be repeated where it was interrupted. Raises MigrationError where others depend on a view, or locks could not
    be had.
    """
    report = progress or _ignore
    done: list[str] = []
    with _alone(connection, app_schema) as found:
        definitions, commands = _definitions(connection, app_schema)
        if found.mode == "incremental":
            _briefly(connection, _to_plain, app_schema, definitions, found, report)
            done.append("put the plain views in place")
        for table in source_tables(connection, commands):
            report(Progress(f"stop capturing changes of {table.schema}.{table.name}", 0.0))
            _briefly(connection, _drop_triggers, table)
            _drop_failure_index(connection, table)
        done += _release(connection, commands, report)
        if is_installed(connection):
            with _transaction(connection, found.home):
                for each in commands.dropped():
                    connection.execute(each)
            done.append("drop the rollups and the capture")
    return tuple(done)


def rebuild(
    connection: Connection,
    app_schema: str = "public",
    *,
    reason: str | None = "on request",
    progress: Callable[[Progress], None] | None = None,
) -> bool:
    """Build the rollups anew in committed steps; with `reason` None, only where a rebuild mark or a crash asks for it.

    Says whether anything was built. The views follow with the next refresh. Raises MigrationError outside the
    incremental mode.
    """
    report = progress or _ignore
    with failures_named():
        if not is_installed(connection):
            raise MigrationError("the incremental mode is not installed: there is nothing to rebuild")
        home = installed_for(connection, app_schema, to_change=False).home
        if reason is not None:
            with _transaction(connection, home):
                connection.execute(block("install", "mark", reason=sql.Literal(reason)))
        return _build(connection, report, home)


def _definitions(connection: Connection, app_schema: str) -> tuple[Definitions, Commands]:
    definitions = Definitions(app_schema, connection.info.server_version)
    return definitions, Commands(definitions)


@contextmanager
def _alone(connection: Connection, app_schema: str) -> Iterator[Found]:
    """Hold the migration lock over several transactions; gives what was found."""
    if not connection.autocommit or connection.info.transaction_status != TransactionStatus.IDLE:
        raise ValueError("the incremental mode needs an idle connection in autocommit mode")
    with failures_named():
        limit = connection.execute(block("install", "statement_timeout")).fetchone() or ("0",)
        connection.execute(block("install", "set_statement_timeout"), ["0"])
        row = connection.execute(block("install", "lock")).fetchone()
        if not row or not row[0]:
            raise MigrationError("another migration is running here: wait for its end, then run this again")
        try:
            yield installed_for(connection, app_schema)
        finally:
            if not connection.closed:
                connection.execute(block("install", "unlock"))
                connection.execute(block("install", "set_statement_timeout"), list(limit))


@contextmanager
def _transaction(connection: Connection, role: str | None = None) -> Iterator[None]:
    """A transaction with our settings, as `role`: a superuser does as our schema's owner what that owner can do."""
    with connection.transaction():
        connection.execute(command("begin"))
        if role is not None:
            connection.execute(set_role(role))
        yield


def _briefly(connection: Connection, change: Callable[..., None], *arguments: Any) -> None:
    """Run `change` in a transaction of its own, again for as long as its locks cannot be had at once."""
    pause = Event()
    for attempt in range(1, _LOCK_ATTEMPTS + 1):
        try:
            with _transaction(connection):
                change(connection, *arguments)
            return
        except psycopg.errors.LockNotAvailable as error:
            if attempt == _LOCK_ATTEMPTS:
                raise MigrationError(
                    f"a lock could not be had in {_LOCK_ATTEMPTS} attempts: end long transactions on "
                    "action_results and its views, then run the same command again to go on"
                ) from error
        pause.wait(_LOCK_PAUSE_SECONDS)


def _refuse(connection: Connection, app_schema: str, commands: Commands, found: Found) -> None:
    """With a limit: reading a view's definition waits for whoever alters a table behind it."""
    connection.execute(block("install", "brief_lock"))
    refuse(connection, app_schema, commands, found.home, replaces_views=found.mode == "plain")


def _release(connection: Connection, commands: Commands, report: Callable[[Progress], None]) -> list[str]:
    """Take the capture triggers, and the index, off tables that are no part of `action_results` any more."""
    done = []
    for table in stray_tables(connection, commands):
        name = f"{table.schema}.{table.name}"
        report(Progress(f"stop capturing changes of {name}", 0.0))
        _briefly(connection, _drop_triggers, table)
        _drop_failure_index(connection, table)
        done.append(f"stop capturing changes of {name}")
    return done


def _create_triggers(connection: Connection, table: SourceTable) -> None:
    connection.execute(block("install", "brief_lock"))
    connection.execute(block("capture", "drop_triggers", table=table.identifier))
    connection.execute(block("capture", "triggers", table=table.identifier))


def _drop_triggers(connection: Connection, table: SourceTable) -> None:
    connection.execute(block("install", "brief_lock"))
    connection.execute(block("capture", "drop_triggers", table=table.identifier))


def _failure_index(connection: Connection, table: SourceTable) -> tuple[str, bool | None]:
    values = {"table": table.identifier.as_string()}
    name = connection.execute(block("install", "failure_index_name"), values).fetchone()
    valid = connection.execute(block("install", "has_failure_index"), values).fetchone()
    return str(name[0]) if name else "", valid[0] if valid else None


def _index_failures(connection: Connection, table: SourceTable, report: Callable[[Progress], None]) -> bool:
    """recent_failures reads a day of failures: without this index it would read the whole day."""
    name, valid = _failure_index(connection, table)
    if valid:
        return False
    report(Progress(f"index the failures of {table.schema}.{table.name}", 0.0))
    if valid is not None:
        _drop_failure_index(connection, table)
    connection.execute(block("install", "create_failure_index", index=sql.Identifier(name), table=table.identifier))
    return True


def _drop_failure_index(connection: Connection, table: SourceTable) -> None:
    name, valid = _failure_index(connection, table)
    if valid is not None:
        connection.execute(block("install", "drop_failure_index", index=sql.Identifier(table.schema, name)))


def _build(connection: Connection, report: Callable[[Progress], None], home: str) -> bool:
    steps = 0
    share = 0.0
    while share < 1:
        report(Progress("build the rollups", share))
        with _transaction(connection, home):
            row = connection.execute(block("install", "rebuild_step")).fetchone()
            needed = bool(row and row[1])
            share = float(row[0]) if row else 1.0
        steps += needed
    if steps:
        connection.execute(block("install", "vacuum"))
    report(Progress("build the rollups", 1.0))
    return steps > 0


def _to_rollups(
    connection: Connection,
    app_schema: str,
    definitions: Definitions,
    commands: Commands,
    found: Found,
    report: Callable[[Progress], None],
) -> None:
    replace_functions(
        connection, app_schema, {**commands.refresh_functions(), STATUS_FUNCTION: definitions.create(STATUS_FUNCTION)}
    )
    connection.execute(set_role(found.home))
    connection.execute(commands.caller_grants())
    if found.mode == "incremental":
        return
    connection.execute(block("install", "fold"))
    connection.execute(set_role(found.role))
    replace_views(
        connection,
        app_schema,
        commands.view,
        reads_rollups=True,
        progress=lambda name: report(Progress(f"build view {app_schema}.{name} over the rollups", 0.0)),
    )
    connection.execute(set_role(found.home))
    connection.execute(block("install", "all_current"))
    connection.execute(block("install", "set_mode", mode=sql.Literal("incremental")))


def _to_plain(
    connection: Connection,
    app_schema: str,
    definitions: Definitions,
    found: Found,
    report: Callable[[Progress], None],
) -> None:
    replace_views(
        connection,
        app_schema,
        lambda name: definitions.create(name, OUR_SCHEMA),
        reads_rollups=False,
        progress=lambda name: report(Progress(f"build the plain view {app_schema}.{name}", 0.0)),
    )
    replace_functions(connection, app_schema, {name: definitions.create(name) for name in FUNCTIONS})
    connection.execute(set_role(found.home))
    connection.execute(block("install", "set_mode", mode=sql.Literal("plain")))
