"""Finds why the incremental mode would not be exact, before any change."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.errors import primary_text
from analytics_refreshd.postgres.incremental.commands import Commands, block
from analytics_refreshd.postgres.incremental.state import obstacles
from analytics_refreshd.postgres.schema.acting import foreign_obstacle
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA

_TRIGGERS_PER_TABLE = 4


@dataclass(frozen=True, slots=True)
class SourceTable:
    """`action_results`, or a table below it: a partition or an inheritance child."""

    schema: str
    name: str
    kind: str
    owned: bool
    triggers: int

    @property
    def captured(self) -> bool:
        """Whether all its capture triggers fire for every kind of session."""
        return self.triggers == _TRIGGERS_PER_TABLE

    @property
    def identifier(self) -> sql.Identifier:
        """Return its qualified name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def holds_rows(self) -> bool:
        """Whether it stores rows itself, unlike a partitioned table."""
        return self.kind == "r"


def source_tables(connection: Connection, commands: Commands) -> list[SourceTable]:
    """Return `action_results` and every table below it."""
    return _tables(connection, commands, "tree")


def stray_tables(connection: Connection, commands: Commands) -> list[SourceTable]:
    """Return former source tables that still have capture triggers.

    A detached partition is one.
    """
    return _tables(connection, commands, "strays")


def _tables(connection: Connection, commands: Commands, query: str) -> list[SourceTable]:
    rows = connection.execute(block("install", query, app_table=commands.names["app_table"])).fetchall()
    return [SourceTable(*row) for row in rows]


@contextmanager
def failures_named() -> Iterator[None]:
    """Raise MigrationError for whatever the server refuses.

    Every command here can be repeated.
    """
    try:
        yield
    except psycopg.Error as error:
        state = f" ({error.sqlstate})" if error.sqlstate else ""
        raise MigrationError(
            f"{primary_text(error)}{state}; fix it, then run the same command again to go on"
        ) from None


@dataclass(frozen=True, slots=True)
class Found:
    """What `migrate` installed, and the roles concerned.

    They are who is connected, who owns our schema, and who acts in it. `redacted` is whether recent_failures stores
    redacted texts.
    """

    mode: str
    role: str
    home: str
    redacted: bool


def installed_for(connection: Connection, app_schema: str, *, to_change: bool = True) -> Found:
    """Return what `migrate` installed.

    Raises MigrationError where it has not run for this schema, or where others run code in it; with `to_change`, also
    where the role does not own our schema, or may not act as the owner of action_results.
    """
    with connection.transaction():
        connection.execute(command("begin"))
        installed = Catalog(connection, app_schema).read(compare=False, migrates=to_change)
    found, installation = installed.privileges, installed.installation
    if installed.foreign:
        raise MigrationError(foreign_obstacle(installed, app_schema))
    if installation is None:
        raise MigrationError("the views are not installed yet: run migrate first, then migrate --incremental")
    if installation.app_schema != app_schema:
        raise MigrationError(
            f"this database is installed for schema {installation.app_schema}, not {app_schema}: "
            f"set [database] schema to {installation.app_schema}"
        )
    owner = installed.actors[found.ours_owner or found.role]
    if to_change and not found.owns_ours and not owner.may_become:
        raise MigrationError(
            f"role {found.role} does not own schema {OUR_SCHEMA}: run this as {found.ours_owner} or a superuser"
        )
    if to_change and found.ours_owner != installed.home:
        raise MigrationError(
            f"schema {OUR_SCHEMA} belongs to {found.ours_owner}, and not to {installed.home}: run migrate first, as "
            f"{found.ours_owner} or a superuser"
        )
    if to_change and installed.source is not None and installed.source.owner != installed.home:
        raise MigrationError(
            f"{app_schema}.action_results belongs to {installed.source.owner}, as which changes are to be captured and "
            f"folded: run this as {installed.source.owner} or a superuser"
        )
    return Found(installation.mode, found.role, installed.home, installation.failures_redacted)


def refuse(connection: Connection, app_schema: str, commands: Commands, home: str, *, replaces_views: bool) -> None:
    """Raise MigrationError with every reason not to install.

    `home` is the role that folds: what it sees of the table is what is counted.
    """
    with Catalog(connection, app_schema).acting_as(home):
        found = list(_source_obstacles(connection, app_schema, commands))
    found += [
        f"the role does not own {each.schema}.{each.name}, and only its owner can add capture triggers: "
        "run this as its owner"
        for each in source_tables(connection, commands)
        if not each.owned
    ]
    if replaces_views:
        found += view_obstacles(connection, app_schema)
    if found:
        raise MigrationError("; ".join(found))


def refuse_inexact(connection: Connection) -> None:
    """Raise MigrationError where rollups built now would not be exact."""
    found = [text for text, stops in obstacles(connection) if stops]
    if found:
        raise MigrationError("; ".join(found))


def _source_obstacles(connection: Connection, app_schema: str, commands: Commands) -> Iterator[str]:
    table = f"{app_schema}.action_results"
    row = connection.execute(block("install", "source", app_table=commands.names["app_table"])).fetchone()
    if row is None:
        yield f"there is no table {table}: set [database] schema to the application's schema"
        return
    reads, filtered = row
    if not reads:
        yield f"the role may not read {table}: run this as its owner or a superuser"
    if filtered:
        yield f"row security hides rows of {table} from this role: run this as a role with BYPASSRLS"
    for text, _, _ in connection.execute(commands.obstacles()).fetchall():
        # said above, with what helps here
        if not filtered or not text.startswith("row security"):
            yield text


def view_obstacles(connection: Connection, app_schema: str) -> Iterator[str]:
    """Return why the four views cannot be replaced."""
    catalog = Catalog(connection, app_schema)
    views = catalog.objects(app_schema).views
    for name in VIEWS:
        view = views.get(name)
        if view is None or view.kind != "m":
            yield f"there is no materialized view {app_schema}.{name}: run migrate first"
            continue
        if not view.owned:
            yield f"the role does not own {app_schema}.{name}: run this as {view.owner} or a superuser"
