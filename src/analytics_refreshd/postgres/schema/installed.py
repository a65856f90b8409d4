"""What a database has of our views, functions and schema, read from its catalogs."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from psycopg.rows import class_row

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.connection import Connection, sqlfiles
from analytics_refreshd.postgres.schema.definitions import FUNCTIONS, OUR_SCHEMA, SOURCE_COLUMNS, Definitions, verbatim

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
    app_owner: str | None
    ours_exists: bool
    owns_ours: bool
    ours_owner: str | None
    versioned: bool
    reads_version: bool
    relations_in_ours: int


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
    """Everything that a plan needs to know. `expected` is None where the role could not build it to compare."""

    privileges: Privileges
    installation: Installation | None
    source: Source | None
    found: Objects
    expected: Objects | None


@dataclass(frozen=True, slots=True)
class _Name:
    dependent: str


@dataclass(frozen=True, slots=True)
class _Command:
    command: str


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

    def expected(self, definitions: Definitions) -> Objects | None:
        """What the server makes of our definitions: created in our schema, read, and rolled back.

        None where the role may not do that, or the server is read-only.
        """
        found = None
        with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
            with self.connection.transaction():
                if not self.privileges().ours_exists:
                    self.connection.execute(verbatim(sqlfiles.blocks("schema/bootstrap.sql")["schema"]))
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

    def may_record(self, role: str) -> bool:
        """Whether `role` can write `last_refresh`."""
        return self._rows("may_record", _MayRecord, role=role)[0].may_record

    def outside_dependents(self, ours: tuple[str, ...]) -> list[str]:
        """What other people hung on our schema or put into it."""
        return [row.dependent for row in self._rows("outside_dependents", _Name, ours=list(ours))]

    def read(self) -> Installed:
        """Everything at once."""
        privileges = self.privileges()
        source = self.source()
        usable = source is not None and source.readable and not source.missing
        definitions = Definitions(self.app_schema, privileges.server_version)
        return Installed(
            privileges,
            self.installation() if privileges.reads_version else None,
            source,
            self.objects(self.app_schema),
            self.expected(definitions) if usable else None,
        )
