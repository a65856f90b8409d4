"""The incremental mode: the views read rollups that are kept exact by captured changes.

States of an installation, in the order in which `install` passes through them; each is left by a commit, so an
interrupted installation goes on where it stopped: objects, triggers (from here on changes are captured), rollups
built in steps, views and functions replaced in one transaction. Until that last one, the views are the plain ones.
"""

from datetime import date

from psycopg import sql

from analytics_refreshd.core.names import STATUS_FUNCTION
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental import horizon, outbox_install
from analytics_refreshd.postgres.incremental.building import (
    InstallProgress,
    Report,
    build,
    rebuild,
    report_to_nobody,
)
from analytics_refreshd.postgres.incremental.commands import Commands, block
from analytics_refreshd.postgres.incremental.failure_index import drop_failure_index, index_failures
from analytics_refreshd.postgres.incremental.preflight import (
    Found,
    SourceTable,
    refuse,
    source_tables,
    stray_tables,
)
from analytics_refreshd.postgres.incremental.settings import Outbox, Retention
from analytics_refreshd.postgres.incremental.state import IncrementalState, is_installed, state
from analytics_refreshd.postgres.incremental.transactions import alone, briefly, transaction
from analytics_refreshd.postgres.incremental.views import refuse_replacing, replace_functions, replace_views
from analytics_refreshd.postgres.schema.definitions import FUNCTIONS, OUR_SCHEMA, Definitions, set_role
from analytics_refreshd.postgres.schema.installation import record_views
from analytics_refreshd.postgres.schema.publications import identify, require_prepared, unidentified_tables

__all__ = ["IncrementalState", "InstallProgress", "Retention", "install", "rebuild", "state", "uninstall_to_plain"]


def install(
    connection: Connection,
    app_schema: str = "public",
    *,
    progress: Report | None = None,
    replace: bool = False,
    accept_publication: bool = False,
    retention: Retention | None = None,
    outbox: Outbox | None = None,
) -> tuple[str, ...]:
    """Install the incremental mode, or finish or renew it.

    Returns what was done. Without `replace` no view is replaced that differs from ours or that something depends on.
    `accept_publication` is as in `migrate`. `retention` turns the frozen horizon on or off, `outbox` the batches for a
    warehouse; None leaves them as they are.
    `connection` is idle and in autocommit mode. Writers of `action_results` wait only while a trigger is created.
    Raises MigrationError, with nothing changed, where capture would miss rows or a view cannot be replaced, and where
    locks could not be had.
    """
    report = progress or report_to_nobody
    done: list[str] = []
    with alone(connection, app_schema) as found:
        definitions, commands = _definitions(connection, app_schema, found, retention, outbox)
        had_outbox = outbox_install.is_installed(connection)
        briefly(connection, _refuse, app_schema, commands, found)
        if found.mode == "plain" and not replace:
            briefly(connection, refuse_replacing, definitions, found)
        briefly(connection, _refuse_unprepared, commands, found.home, accept_publication)
        briefly(connection, _add_columns, found.home)
        with transaction(connection, found.home):
            _create_objects(connection, commands)
            done += outbox_install.apply(connection, had_outbox, outbox)
        for name in unidentified_tables(connection, only_published=False):
            briefly(connection, _identify, name, found.home)
        done += _release(connection, commands, report)
        frozen = horizon.frozen_partitions(connection)
        for table in source_tables(connection, commands):
            if not table.captured:
                report(InstallProgress(f"capture changes of {table.schema}.{table.name}", 0.0))
                briefly(connection, _create_triggers, table)
                done.append(f"capture changes of {table.schema}.{table.name}")
            # nothing looks for failures that old
            wanted = table.holds_rows and (table.schema, table.name) not in frozen
            if wanted and index_failures(connection, table, lambda doing: report(InstallProgress(doing, 0.0))):
                done.append(f"index the failures of {table.schema}.{table.name}")
        moved = horizon.apply(connection, found.home, retention)
        if build(connection, report, found.home):
            done.append("build the rollups")
        if moved:
            # what is more than a day was frozen in steps before the build
            report(InstallProgress(moved[0], 1.0))
            with transaction(connection, found.home):
                connection.execute(block("install", "fold"))
        done += moved
        if found.mode == "plain":
            done.append("put the views over the rollups in place")
        briefly(connection, _to_rollups, app_schema, definitions, commands, found, report)
    return tuple(done)


def uninstall_to_plain(
    connection: Connection,
    app_schema: str = "public",
    *,
    progress: Report | None = None,
    replace: bool = False,
    discard_frozen: date | None = None,
) -> tuple[str, ...]:
    """Go back to the plain views, and drop the incremental mode.

    Returns what was done.
    Can be repeated where it was interrupted. `replace` is as in `install`. Raises UsageError where figures are frozen,
    unless `discard_frozen` is the day of the horizon, and MigrationError where a view must not be replaced, or locks
    could not be had.
    """
    report = progress or report_to_nobody
    done: list[str] = []
    with alone(connection, app_schema) as found:
        horizon.refuse_discarding(connection, discard_frozen)
        definitions, commands = _definitions(connection, app_schema, found)
        if found.mode == "incremental":
            if not replace:
                briefly(connection, refuse_replacing, definitions, found)
            briefly(connection, _to_plain, app_schema, definitions, found, report)
            done.append("put the plain views in place")
        for table in source_tables(connection, commands):
            report(InstallProgress(f"stop capturing changes of {table.schema}.{table.name}", 0.0))
            briefly(connection, _drop_triggers, table)
            drop_failure_index(connection, table)
        done += _release(connection, commands, report)
        if is_installed(connection):
            with transaction(connection, found.home):
                for each in commands.dropped():
                    connection.execute(each)
            done.append("drop the rollups and the capture")
    return tuple(done)


def _definitions(
    connection: Connection,
    app_schema: str,
    found: Found,
    retention: Retention | None = None,
    outbox: Outbox | None = None,
) -> tuple[Definitions, Commands]:
    definitions = Definitions(app_schema, connection.info.server_version, redacted=found.redacted)
    wanted = retention is not None and retention.rows_seconds is not None
    kept = outbox.wanted if outbox is not None else outbox_install.is_installed(connection)
    return definitions, Commands(definitions, frozen=wanted or horizon.is_installed(connection), outbox=kept)


def _refuse(connection: Connection, app_schema: str, commands: Commands, found: Found) -> None:
    """Refuse within a time limit: reading a view waits for any change of its tables."""
    connection.execute(block("install", "brief_lock"))
    refuse(connection, app_schema, commands, found.home, replaces_views=found.mode == "plain")


def _refuse_unprepared(connection: Connection, commands: Commands, home: str, accepted: bool) -> None:
    """Refuse what subscribers would not survive, before any of our tables is changed."""

    def change() -> None:
        _add_columns(connection, home)
        connection.execute(set_role(home))
        _create_objects(connection, commands)

    connection.execute(set_role(home))
    require_prepared(connection, change, accepted=accepted)


def _create_objects(connection: Connection, commands: Commands) -> None:
    for each in commands.objects():
        connection.execute(each)


def _identify(connection: Connection, table: str, home: str) -> None:
    """Let a publication of all tables send a table without a key: else every update and delete of it fails."""
    connection.execute(block("install", "brief_lock"))
    connection.execute(set_role(home))
    connection.execute(identify(table))


def _release(connection: Connection, commands: Commands, report: Report) -> list[str]:
    """Drop triggers and index from tables that left `action_results`."""
    done = []
    for table in stray_tables(connection, commands):
        name = f"{table.schema}.{table.name}"
        report(InstallProgress(f"stop capturing changes of {name}", 0.0))
        briefly(connection, _drop_triggers, table)
        drop_failure_index(connection, table)
        done.append(f"stop capturing changes of {name}")
    return done


def _add_columns(connection: Connection, home: str) -> None:
    """Add the columns that older tables lack. Writers wait for that lock, so it is taken briefly, if at all."""
    row = connection.execute(block("objects", "lacks_columns")).fetchone()
    if row and row[0]:
        connection.execute(set_role(home))
        connection.execute(block("install", "brief_lock"))
        connection.execute(block("objects", "add_columns"))


def _create_triggers(connection: Connection, table: SourceTable) -> None:
    connection.execute(block("install", "brief_lock"))
    connection.execute(block("capture", "drop_triggers", table=table.identifier))
    connection.execute(block("capture", "triggers", table=table.identifier))


def _drop_triggers(connection: Connection, table: SourceTable) -> None:
    connection.execute(block("install", "brief_lock"))
    connection.execute(block("capture", "drop_triggers", table=table.identifier))


def _to_rollups(
    connection: Connection,
    app_schema: str,
    definitions: Definitions,
    commands: Commands,
    found: Found,
    report: Report,
) -> None:
    # the status function is the same in both modes; in this one, migrate leaves it to a renewed installation
    replace_functions(
        connection, app_schema, {**commands.refresh_functions(), STATUS_FUNCTION: definitions.create(STATUS_FUNCTION)}
    )
    connection.execute(set_role(found.home))
    for each in commands.grants():
        connection.execute(each)
    connection.execute(commands.record_functions())
    if found.mode == "incremental":
        return
    connection.execute(block("install", "fold"))
    connection.execute(block("install", "folded"))
    connection.execute(set_role(found.role))
    replace_views(
        connection,
        app_schema,
        commands.view,
        reads_rollups=True,
        progress=lambda name: report(InstallProgress(f"build view {app_schema}.{name} over the rollups", 0.0)),
    )
    connection.execute(set_role(found.home))
    connection.execute(block("install", "all_current"))
    connection.execute(block("install", "set_mode", mode=sql.Literal("incremental")))
    connection.execute(record_views(app_schema))


def _to_plain(
    connection: Connection,
    app_schema: str,
    definitions: Definitions,
    found: Found,
    report: Report,
) -> None:
    replace_views(
        connection,
        app_schema,
        lambda name: definitions.create(name, OUR_SCHEMA),
        reads_rollups=False,
        progress=lambda name: report(InstallProgress(f"build the plain view {app_schema}.{name}", 0.0)),
    )
    replace_functions(connection, app_schema, {name: definitions.create(name) for name in FUNCTIONS})
    connection.execute(set_role(found.home))
    connection.execute(block("install", "set_mode", mode=sql.Literal("plain")))
    connection.execute(record_views(app_schema))
