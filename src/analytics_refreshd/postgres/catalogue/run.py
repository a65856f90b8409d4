"""Runs catalogue queries: read-only, in UTC, with every value bound."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any, LiteralString, TypeVar, cast

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from analytics_refreshd.core.names import TENANT_SCHEMA
from analytics_refreshd.core.redaction import LIMIT_BYTES
from analytics_refreshd.postgres.catalogue.definition import Column, Parameter, Query, QueryFileError
from analytics_refreshd.postgres.catalogue.files import relations
from analytics_refreshd.postgres.catalogue.redacting import REDACTED, redacted
from analytics_refreshd.postgres.catalogue.result import Result, Row
from analytics_refreshd.postgres.catalogue.settings import DEFAULTS, QuerySettings
from analytics_refreshd.postgres.catalogue.sources import Sources, sources
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.connector import search_path
from analytics_refreshd.postgres.connection.errors import primary_text

__all__ = [
    "ROW_LIMIT",
    "BoundQuery",
    "Result",
    "Row",
    "bind",
    "explain",
    "export",
    "filled",
    "printed",
    "read_only",
    "reading",
    "run",
    "statement",
    "stream",
]

ROW_LIMIT = 10_000
"""How many rows `run` keeps."""
SIZE_LIMIT_BYTES = 16 << 20
"""How much text `run` keeps, in bytes as the server sent them."""
_CHUNK = 32
"""Rows that come at a time where they are not kept."""
FILTER = Parameter("filter", "text", "", None, None, "Of which type, or of which trigger")
_Value = TypeVar("_Value")


# without slots, so that what follows from the values is worked out once, not each time it is asked for
@dataclass(frozen=True)
class BoundQuery:
    """A query with a value for every placeholder, for one application schema.

    Before `frozen_until` it reads frozen days; None: it reads none. `notes` are sentences for the reader of its rows.
    """

    query: Query
    values: Mapping[str, object]
    app_schema: str
    frozen_until: datetime | None = None
    notes: tuple[str, ...] = ()

    @property
    def placeholders(self) -> Mapping[str, object]:
        """Return the value of each placeholder of the statement."""
        return self.values if self.frozen_until is None else {**self.values, "frozen_until": self.frozen_until}

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return the columns; those that say nothing of frozen days are approximated."""
        if self.frozen_until is None:
            return self.query.columns
        why = f"days before {self.frozen_until:%Y-%m-%d %H:%M} UTC are frozen, and do not hold it"
        return tuple(
            replace(column, approximated="; ".join(filter(None, (column.approximated, why))))
            if column.name in self.query.after_horizon
            else column
            for column in self.query.columns
        )

    @cached_property
    def sources(self) -> Sources:
        """Return what its relations stand for."""
        return sources(self.query, self.values, frozen=self.frozen_until is not None)

    @property
    def limited(self) -> bool:
        """Whether it is limited to organizations."""
        return "organizations" in self.values

    @property
    def search_path(self) -> str:
        """Return where names without a schema are found: in the application's too where its functions are called.

        An older install's functions name their views without one. Such a query says of its operators that they are
        pg_catalog's.
        """
        return search_path(*([self.app_schema] if self.query.calls_functions else []))

    def statement(self) -> sql.Composed:
        """Return the SQL with placeholders left in it."""
        return statement(self.query, self.app_schema, limited=self.limited, replaced=self.sources.texts)


def bind(
    query: Query,
    parameters: Mapping[str, object],
    organizations: Sequence[str] | None,
    now: datetime,
    app_schema: str,
    filters: Mapping[str, str] | None = None,
    settings: QuerySettings = DEFAULTS,
) -> BoundQuery:
    """Bind what a user gave, as `Query.bind` does. Raises ParameterError for a bad value.

    `filters` has `action_type`, `trigger_id` or both, for a query that takes them. `settings` are the configuration's.
    """
    values = dict(settings.values(query, organizations, (filters or {}).get("action_type")))
    values |= query.bind(parameters, organizations, now)
    values |= {name.upper(): FILTER.check(value) for name, value in (filters or {}).items()}
    return BoundQuery(query, values, app_schema, notes=(query.note,) if query.note else ())


def statement(
    query: Query, app_schema: str, *, limited: bool, replaced: Mapping[str, str] | None = None
) -> sql.Composed:
    """Fill in a query's relations; placeholders stay. `replaced` overrides relations."""
    suffix = " limited" if limited else ""
    chosen = {name: relations()[name + suffix] for name in query.relations} | dict(replaced or {})
    return filled(query.body, app_schema, chosen, limited=limited)


def filled(body: str, app_schema: str, texts: Mapping[str, str], *, limited: bool) -> sql.Composed:
    """Fill in the texts of a body's relations; placeholders stay."""
    app = sql.Identifier(app_schema)
    walled = " walled" if app_schema == TENANT_SCHEMA else ""
    days = sql.SQL(relations()[f"frozen days{walled}{' limited' if limited else ''}"]).format(app=app)
    parts = {name: sql.SQL(text).format(app=app, days=days) for name, text in texts.items()}
    return sql.SQL(body).format(app=app, **parts)


def printed(bound: BoundQuery) -> str:
    """Write the statement for psql, with values as literals.

    People read it; it is never executed here.
    """
    text = bound.statement().as_string(None)

    def literal(match: re.Match[str]) -> str:
        return "%" if match[0] == "%%" else sql.Literal(bound.values[match[1]]).as_string(None)

    return re.sub(r"%\((\w+)\)s|%%", literal, text) + ";"


def run(connection: Connection, bound: BoundQuery, *, raw: bool = False) -> Result:
    """Answer a query in a read-only transaction, up to the limits.

    Unless `raw`, message and json columns are redacted. Raises psycopg.Error from the database, and QueryFileError
    where the SQL cannot be read or the columns are not the declared ones.
    """
    kept: list[Row] = []
    columns = bound.columns
    size = 0

    def keep(cursor: psycopg.Cursor[Any], rows: Iterator[Row]) -> bool:
        nonlocal size
        for row in rows:
            size += _size(cursor, columns, raw=raw)
            if len(kept) == ROW_LIMIT or (kept and size > SIZE_LIMIT_BYTES):
                return False
            kept.append(row if raw else redacted(columns, row))
        return True

    complete = _with_rows(connection, bound, keep, chunk=1)
    return Result(bound.query, columns, tuple(kept), bound.values, complete, bound.frozen_until, bound.notes)


def export(
    connection: Connection, bound: BoundQuery, take: Callable[[Iterable[Row]], None], *, raw: bool = False
) -> None:
    """Hand all rows to `take` as they come from the server. Otherwise as `run`."""
    columns = bound.query.columns
    _with_rows(
        connection,
        bound,
        lambda _, rows: take(row if raw else redacted(columns, row) for row in rows),
        chunk=_CHUNK,
    )


def explain(connection: Connection, bound: BoundQuery) -> list[str]:
    """Return the lines of EXPLAIN (ANALYZE, BUFFERS), which runs the query, read-only."""
    with (
        reading(bound.query),
        read_only(connection, bound),
        connection.cursor(row_factory=tuple_row) as cursor,
        stream(cursor, bound, prefix="explain (analyze, buffers) ") as rows,
    ):
        return [str(row[0]) for row in rows]


@contextmanager
def read_only(
    connection: Connection, bound: BoundQuery, timeout_ms: int | None = None, *, snapshot: bool = False
) -> Iterator[None]:
    """Open a read-only transaction in UTC for `bound`.

    `timeout_ms` is its statement_timeout. With `snapshot` all its statements see the database at one moment. It is
    rolled back in the end: a query may also set parameters of the session.
    """
    level: LiteralString = "isolation level repeatable read, " if snapshot else ""
    begins_so = connection.read_only and connection.isolation_level is psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction(force_rollback=True):
        if not begins_so:
            connection.execute("set transaction " + level + "read only")
        limit = "" if timeout_ms is None else str(timeout_ms)
        connection.execute(
            "select set_config('timezone', 'UTC', true), set_config('search_path', %(search_path)s, true),"
            " case when %(limit)s <> '' then set_config('statement_timeout', %(limit)s, true) end",
            {"limit": limit, "search_path": bound.search_path},
            prepare=False,
        )
        yield


@contextmanager
def stream(
    cursor: psycopg.Cursor[Any], bound: BoundQuery, *, prefix: LiteralString = "", chunk: int = _CHUNK
) -> Iterator[Iterator[Row]]:
    """Read a query's rows, `chunk` of them at a time. What is not read is cancelled at the end.

    The extended protocol, which psycopg uses for this, takes one statement and no more: a file cannot end the
    transaction. The statement is not prepared by name: each window gets a plan of its own, and poolers refuse names.
    """
    size = chunk if psycopg.capabilities.has_stream_chunked() else 1
    rows = cursor.stream(sql.SQL(prefix) + bound.statement(), bound.placeholders, size=size)
    # until it is closed it holds the connection's lock, which the end of the transaction needs
    with closing(cast("Generator[Row]", rows)):
        yield rows


def _with_rows(
    connection: Connection,
    bound: BoundQuery,
    take: Callable[[psycopg.Cursor[Any], Iterator[Row]], _Value],
    *,
    chunk: int,
) -> _Value:
    """Return what `take` makes of the rows, for the columns that the query declares."""
    with (
        reading(bound.query),
        read_only(connection, bound),
        connection.cursor(row_factory=tuple_row) as cursor,
        stream(cursor, bound, chunk=chunk) as rows,
    ):
        first = next(rows, None)
        if first is None:
            # a stream without rows does not tell its columns
            cursor.execute(_without_rows(bound), bound.placeholders, prepare=False, binary=True)
        _check_columns(bound.query, [column.name for column in cursor.description or ()])
        return take(cursor, chain(() if first is None else (first,), rows))


def _size(cursor: psycopg.Cursor[Any], columns: Sequence[Column], *, raw: bool) -> int:
    """Return the bytes of the row just read, as the server sent them; of a redacted value, at most what is left."""
    assert cursor.pgresult is not None  # noqa: S101 - it holds the row
    lengths = (len(cursor.pgresult.get_value(0, number) or b"") for number in range(len(columns)))
    return sum(
        length if raw or column.unit not in REDACTED else min(length, LIMIT_BYTES)
        for column, length in zip(columns, lengths, strict=True)
    )


def _without_rows(bound: BoundQuery) -> sql.Composed:
    return sql.SQL("select * from (\n") + bound.statement() + sql.SQL("\n) as answer limit 0")


def _check_columns(query: Query, names: Sequence[str]) -> None:
    declared = [column.name for column in query.columns]
    if list(names) != declared:
        raise QueryFileError(
            f"{query.file}:1: the columns returned are {', '.join(names) or 'none'}; declared are {', '.join(declared)}"
        )


@contextmanager
def reading(query: Query) -> Iterator[None]:
    """Tell where the SQL is that the server cannot read."""
    try:
        yield
    except psycopg.errors.SyntaxError as error:
        raise QueryFileError(
            f"{query.file}:1: the server cannot read its SQL, which must be one SELECT: {primary_text(error)}"
        ) from None
