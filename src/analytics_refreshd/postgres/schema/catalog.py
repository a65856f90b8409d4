"""Reads from the server's catalogs what a database has of our views, functions and schema."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from psycopg.rows import class_row
from psycopg.sql import Composed

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.names import STATUS_FUNCTION
from analytics_refreshd.postgres.connection import Connection, sqlfiles
from analytics_refreshd.postgres.schema.definitions import (
    FROZEN_TABLES,
    FUNCTIONS,
    INCREMENTAL_TABLES,
    OUR_SCHEMA,
    OUR_TABLES,
    OUTBOX_TABLES,
    SOURCE_COLUMNS,
    TENANT_TABLES,
    Definitions,
    create_schema,
    set_role,
)
from analytics_refreshd.postgres.schema.installation import recorded_views
from analytics_refreshd.postgres.schema.installed import (
    Actor,
    Function,
    Index,
    Installation,
    Installed,
    Objects,
    Privileges,
    Source,
    View,
)

Row = TypeVar("Row")
_NO_ANSWERS = "NULL::jsonb AS response_data"


@dataclass(frozen=True, slots=True)
class _Name:
    dependent: str


@dataclass(frozen=True, slots=True)
class _Foreign:
    described: str


@dataclass(frozen=True, slots=True)
class _Command:
    command: str
    place: int = 0


@dataclass(frozen=True, slots=True)
class _MayRecord:
    may_record: bool


class Catalog:
    """The queries of `inspect.sql` on one connection, inside the caller's transaction."""

    def __init__(self, connection: Connection, app_schema: str) -> None:
        self.connection = connection
        self.app_schema = app_schema

    def _rows(self, query: str, row: type[Row], **values: object) -> list[Row]:
        text = sqlfiles.blocks("schema/inspect.sql")[query]
        with self.connection.cursor(row_factory=class_row(row)) as cursor:
            return cursor.execute(text, {"schema": self.app_schema, **values}).fetchall()

    def privileges(self) -> Privileges:
        """The role and what it may do here."""
        return self._rows("privileges", Privileges)[0]

    def installation(self) -> Installation | None:
        """What is installed; None where our schema is unfinished."""
        return next(iter(self._rows("installed", Installation)), None)

    def source(self) -> Source | None:
        """The table `action_results`; None where there is none."""
        return next(iter(self._rows("source", Source, columns=list(SOURCE_COLUMNS))), None)

    def actors(self, names: Iterable[str]) -> dict[str, Actor]:
        """The roles of these names."""
        return {each.name: each for each in self._rows("actors", Actor, names=sorted(set(names)))}

    def home(self) -> str:
        """Who is to own our schema and functions: the owner of action_results, where this role may act as it.

        A superuser creates nothing that acts as a superuser. A role that may not act as the owner creates as itself.
        """
        role, source = self.privileges().role, self.source()
        actor = self.actors([source.owner]).get(source.owner) if source else None
        return actor.name if actor and actor.may_become else role

    def foreign(self, accepted: Iterable[str]) -> tuple[str, ...]:
        """What in our schema would run code of others than the roles `accepted`, described for a person.

        Its owner included. Roles are accepted by name: a member of one is another role.
        """
        tables = [*OUR_TABLES, *INCREMENTAL_TABLES, *FROZEN_TABLES, *OUTBOX_TABLES, *TENANT_TABLES]
        return tuple(row.described for row in self._rows("foreign", _Foreign, accepted=list(accepted), tables=tables))

    def gifts(self, home: str) -> list[str]:
        """The commands that give our schema and all that is in it to `home`, nothing where it has them."""
        return [row.command for row in self._rows("gifts", _Command, home=home)]

    @contextmanager
    def acting_as(self, role: str) -> Iterator[None]:
        """Read as `role`, so that nothing that it owns runs with the rights of this one; inside a transaction."""
        own = self.privileges().role
        with self.connection.transaction():
            self.connection.execute(set_role(role))
            yield
            self.connection.execute(set_role(own))

    def objects(self, schema: str) -> Objects:
        """The views, their indexes and the functions of `schema`, comparable across schemas."""
        views = self._rows("views", View, schema=schema, names=list(VIEWS))
        indexes = self._rows("indexes", Index, schema=schema, names=list(VIEWS), target=OUR_SCHEMA)
        functions = self._rows("functions", Function, schema=schema, names=list(FUNCTIONS))
        return Objects(
            {view.name: view for view in views},
            {index.name: index for index in indexes},
            {(function.name, function.arguments): function for function in functions},
        )

    def expected(self, commands: Iterable[Composed], home: str) -> Objects | None:
        """What the server makes of definitions that `commands` create in our schema: read, and rolled back.

        None where the role may not do that, or the server is read-only.
        """
        found = None
        with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
            with self.connection.transaction():
                has = self.privileges()
                if not has.ours_exists:
                    self.connection.execute(create_schema(home))
                if has.ours_owner in (None, home):
                    self.connection.execute(set_role(home))
                for command in commands:
                    self.connection.execute(command)
                found = self.objects(OUR_SCHEMA)
                raise psycopg.Rollback
        return found

    def function_dependents(self, name: str, arguments: str) -> list[str]:
        """What would be dropped with a function, described for a person."""
        rows = self._rows("function_dependents", _Name, name=name, arguments=arguments)
        return [row.dependent for row in rows]

    def view_grants(self, view: str) -> list[str]:
        """The GRANT commands that a new view needs."""
        return [row.command for row in self._rows("view_grants", _Command, name=view)]

    def sibling_grants(self, view: str) -> list[str]:
        """The GRANT commands that give a view that was dropped what all the others grant."""
        return [row.command for row in self._rows("sibling_grants", _Command, name=view, views=list(VIEWS))]

    def function_grants(self, name: str, arguments: str) -> list[str]:
        """The GRANT commands that a new function needs."""
        return [row.command for row in self._rows("function_grants", _Command, name=name, arguments=arguments)]

    def callers(self, name: str, arguments: str) -> list[str]:
        """The GRANT commands that let whoever may refresh call a function that PUBLIC may not call any more."""
        rows = self._rows("callers", _Command, name=name, arguments=arguments, views=list(VIEWS))
        return [row.command for row in rows]

    def may_record(self, role: str) -> bool:
        """Whether `role` can write `last_refresh`."""
        return self._rows("may_record", _MayRecord, role=role)[0].may_record

    def outside_dependents(self, ours: tuple[str, ...]) -> list[str]:
        """What other people hung on our schema or put into it."""
        return [row.dependent for row in self._rows("outside_dependents", _Name, ours=list(ours))]

    def read(self, *, compare: bool = True, migrates: bool = True, redact: bool | None = None) -> Installed:
        """Everything at once, and nothing by way of what others may have put in our place.

        Without `compare`, `expected` stays None. Who does not migrate accepts also who did: the owner of the status
        function. `redact` is whether recent_failures is to store redacted texts; None leaves that as it is.
        """
        privileges = self.privileges()
        source = self.source()
        home, found = self.home(), self.objects(self.app_schema)
        # who owns the tables has what the views show; who migrates knows what it did
        accepted = {privileges.role, *([source.owner] if source else [])}
        if not migrates:
            accepted |= {one.owner for one in found.functions.values() if one.name == STATUS_FUNCTION}
        foreign = self.foreign(accepted)
        owners = {view.owner for view in found.views.values()} | {one.owner for one in found.functions.values()}
        actors = self.actors(
            {home, privileges.role, *owners, *([privileges.ours_owner] if privileges.ours_owner else [])}
        )
        readable = source is not None and not source.missing and (source.readable or source.owner == home)
        installation, recorded = None, {}
        if privileges.reads_version and not foreign:
            owner = actors[privileges.ours_owner or home]
            with self.acting_as(owner.name if owner.may_become else privileges.role):
                installation, recorded = self.installation(), recorded_views(self.connection)
        redacted = redact if redact is not None else _is_redacted(installation, found)
        ours = Definitions(self.app_schema, privileges.server_version, redacted=redacted).everything(OUR_SCHEMA)
        return Installed(
            privileges,
            home,
            actors,
            foreign,
            installation,
            source,
            found,
            self.expected(ours, home) if compare and readable and not foreign else None,
            recorded,
            redacted,
        )


def _is_redacted(installation: Installation | None, found: Objects) -> bool:
    """Whether recent_failures stores redacted texts: as noted, or by its query where our schema was taken away."""
    if installation is not None:
        return installation.failures_redacted
    view = found.views.get("recent_failures")
    return view is not None and _NO_ANSWERS in view.definition
