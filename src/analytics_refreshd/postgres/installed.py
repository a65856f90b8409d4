"""What a database has of our views, functions and schema, read from its catalogs."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres import sqlfiles
from analytics_refreshd.postgres.definitions import (
    FUNCTIONS,
    OUR_SCHEMA,
    OUR_TABLES,
    SOURCE_COLUMNS,
    STATUS_FUNCTION,
    Definitions,
    create_schema,
    set_role,
)
from analytics_refreshd.postgres.incremental_sql import INCREMENTAL_TABLES

Connection = psycopg.Connection[Any]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Privileges:
    """The server, the role, and what the role may do. Owners are None where the schema does not exist."""

    server_version: int
    role: str
    creates_schemas: bool
    app_exists: bool
    uses_app: bool
    creates_in_app: bool
    owns_app: bool
    app_owner: str | None
    ours_exists: bool
    owns_ours: bool
    ours_owner: str | None
    versioned: bool
    reads_version: bool
    relations_in_ours: int


@dataclass(frozen=True, slots=True)
class Actor:
    """A role that owns what we touch: whether a migration may act as it, and what it may do here."""

    name: str
    may_become: bool
    superuser: bool
    creates_schemas: bool
    uses_app: bool
    creates_in_app: bool


@dataclass(frozen=True, slots=True)
class Installation:
    """The row of `analytics_refresh.installation`, with the newest version applied."""

    app_schema: str
    mode: str
    version: int


@dataclass(frozen=True, slots=True)
class Source:
    """`action_results`: whether it can be read, its owner, and the columns that it lacks."""

    readable: bool
    owner: str
    missing: list[str]


@dataclass(frozen=True, slots=True)
class View:
    """A relation that has the name of one of the four views. `columns` are `name type`, in order."""

    name: str
    kind: str
    owner: str
    owned: bool
    populated: bool
    commented: bool
    definition: str
    columns: list[str]


@dataclass(frozen=True, slots=True)
class Index:
    """An index on one of the views; `definition` as it would read on the view in the schema asked for."""

    name: str
    view_name: str
    valid: bool
    definition: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function that has the name of one of ours. `signature` and `body` are only to be compared."""

    name: str
    arguments: str
    owner: str
    owned: bool
    commented: bool
    definer: bool
    public_may_call: bool
    signature: str
    body: str


@dataclass(frozen=True, slots=True)
class Objects:
    """Views, their indexes, and functions in one schema."""

    views: Mapping[str, View]
    indexes: Mapping[str, Index]
    functions: Mapping[tuple[str, str], Function]


@dataclass(frozen=True, slots=True)
class Installed:
    """Everything that a plan needs to know. `expected` is None where the role could not build it to compare.

    `home` is the role that is to own our schema and functions. `strangers` describe what in our schema would run code
    of a role that is neither the owner of action_results nor the one that migrates; with one, nothing of it was read.
    """

    privileges: Privileges
    home: str
    actors: Mapping[str, Actor]
    strangers: tuple[str, ...]
    installation: Installation | None
    source: Source | None
    found: Objects
    expected: Objects | None


@dataclass(frozen=True, slots=True)
class _Name:
    dependent: str


@dataclass(frozen=True, slots=True)
class _Stranger:
    stranger: str


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
        text = sqlfiles.blocks("inspect.sql")[query]
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

    def strangers(self, accepted: Iterable[str]) -> tuple[str, ...]:
        """What in our schema would run code of others than the roles `accepted`, described for a person.

        Its owner included. Roles are accepted by name: a member of one is another role.
        """
        tables = [*OUR_TABLES, *INCREMENTAL_TABLES]
        return tuple(row.stranger for row in self._rows("strangers", _Stranger, accepted=list(accepted), tables=tables))

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

    def expected(self, definitions: Definitions, home: str) -> Objects | None:
        """What the server makes of our definitions: created in our schema, read, and rolled back.

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
                for command in definitions.everything(OUR_SCHEMA):
                    self.connection.execute(command)
                found = self.objects(OUR_SCHEMA)
                raise psycopg.Rollback
        return found

    def view_dependents(self, view: str) -> list[str]:
        """What would be dropped with `view`, described for a person."""
        return [row.dependent for row in self._rows("view_dependents", _Name, name=view)]

    def function_dependents(self, name: str, arguments: str) -> list[str]:
        """What would be dropped with a function, described for a person."""
        rows = self._rows("function_dependents", _Name, name=name, arguments=arguments)
        return [row.dependent for row in rows]

    def view_grants(self, view: str) -> list[str]:
        """The GRANT commands that a view created anew needs."""
        return [row.command for row in self._rows("view_grants", _Command, name=view)]

    def function_grants(self, name: str, arguments: str) -> list[str]:
        """The GRANT commands that a function created anew needs."""
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

    def read(self, *, compare: bool = True, migrates: bool = True) -> Installed:
        """Everything at once, and nothing by way of what others may have put in our place.

        Without `compare`, `expected` stays None. Who does not migrate accepts also who did: the owner of the status
        function.
        """
        privileges = self.privileges()
        source = self.source()
        home, found = self.home(), self.objects(self.app_schema)
        # who owns the tables has what the views show; who migrates knows what it did
        accepted = {privileges.role, *([source.owner] if source else [])}
        if not migrates:
            accepted |= {one.owner for one in found.functions.values() if one.name == STATUS_FUNCTION}
        strangers = self.strangers(accepted)
        owners = {view.owner for view in found.views.values()} | {one.owner for one in found.functions.values()}
        actors = self.actors(
            {home, privileges.role, *owners, *([privileges.ours_owner] if privileges.ours_owner else [])}
        )
        readable = source is not None and not source.missing and (source.readable or source.owner == home)
        installation = None
        if privileges.reads_version and not strangers:
            owner = actors[privileges.ours_owner or home]
            with self.acting_as(owner.name if owner.may_become else privileges.role):
                installation = self.installation()
        definitions = Definitions(self.app_schema, privileges.server_version)
        return Installed(
            privileges,
            home,
            actors,
            strangers,
            installation,
            source,
            found,
            self.expected(definitions, home) if compare and readable and not strangers else None,
        )
