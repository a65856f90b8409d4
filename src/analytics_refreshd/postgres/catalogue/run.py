"""Runs catalogue queries: read-only, in UTC, with every value bound."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from analytics_refreshd.core.redaction import redact_json, redact_value
from analytics_refreshd.postgres.catalogue.definition import Column, Query, QueryFileError
from analytics_refreshd.postgres.catalogue.files import relations
from analytics_refreshd.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """A query with a value for every placeholder, for one application schema."""

    query: Query
    values: Mapping[str, object]
    app_schema: str

    @property
    def limited(self) -> bool:
        """Whether it is limited to organizations."""
        return "organizations" in self.values

    def statement(self) -> sql.Composed:
        """Return the SQL with placeholders left in it."""
        return statement(self.query, self.app_schema, limited=self.limited)


def bind(
    query: Query,
    parameters: Mapping[str, object],
    organizations: Sequence[str] | None,
    now: datetime,
    app_schema: str,
) -> BoundQuery:
    """Bind what a user gave, as `Query.bind` does. Raises ParameterError for a bad value."""
    return BoundQuery(query, query.bind(parameters, organizations, now), app_schema)


@dataclass(frozen=True, slots=True)
class Result:
    """A query's rows, in the order of `columns`.

    Numbers are int, float or Decimal; times are aware datetimes. `parameters` holds every bound value, `since` and
    `until` included where the query has a window.
    """

    query: Query
    columns: tuple[Column, ...]
    rows: tuple[tuple[object, ...], ...]
    parameters: Mapping[str, object]


def statement(
    query: Query, app_schema: str, *, limited: bool, replaced: Mapping[str, str] | None = None
) -> sql.Composed:
    """Fill in a query's relations; placeholders stay. `replaced` overrides relations."""
    suffix = " limited" if limited else ""
    app = sql.Identifier(app_schema)
    chosen = {name: relations()[name + suffix] for name in query.relations} | dict(replaced or {})
    filled = {name: sql.SQL(text).format(app=app) for name, text in chosen.items()}
    return sql.SQL(query.body).format(app=app, **filled)


def printed(bound: BoundQuery) -> str:
    """Write the statement for psql, with values as literals.

    People read it; it is never executed here.
    """
    text = bound.statement().as_string(None)

    def literal(match: re.Match[str]) -> str:
        return "%" if match[0] == "%%" else sql.Literal(bound.values[match[1]]).as_string(None)

    return re.sub(r"%\((\w+)\)s|%%", literal, text) + ";"


def run(connection: Connection, bound: BoundQuery, *, raw: bool = False) -> Result:
    """Answer a query in a read-only transaction of its own.

    Unless `raw`, message and json columns are redacted. Raises psycopg.Error from the database, and QueryFileError
    where the columns are not the declared ones.
    """
    query = bound.query
    with read_only(connection), connection.cursor(row_factory=tuple_row) as cursor:
        execute(cursor, bound)
        names = [column.name for column in cursor.description or ()]
        rows = cursor.fetchall() if cursor.description else []
    declared = [column.name for column in query.columns]
    if names != declared:
        raise QueryFileError(
            f"{query.file}:1: the columns returned are {', '.join(names) or 'none'}; declared are {', '.join(declared)}"
        )
    shown = tuple(tuple(row) if raw else _redacted(query.columns, row) for row in rows)
    return Result(query, query.columns, shown, bound.values)


def explain(connection: Connection, bound: BoundQuery) -> list[str]:
    """Return the lines of EXPLAIN (ANALYZE, BUFFERS), which runs the query, read-only."""
    with read_only(connection), connection.cursor(row_factory=tuple_row) as cursor:
        execute(cursor, bound, prefix="explain (analyze, buffers) ")
        return [str(row[0]) for row in cursor.fetchall()]


@contextmanager
def read_only(connection: Connection, timeout_ms: int | None = None) -> Iterator[None]:
    """Open a read-only transaction in UTC, with `timeout_ms` as its statement_timeout."""
    with connection.transaction():
        connection.execute("set transaction read only")
        limit = "" if timeout_ms is None else str(timeout_ms)
        connection.execute(
            "select set_config('timezone', 'UTC', true),"
            " case when %(limit)s <> '' then set_config('statement_timeout', %(limit)s, true) end",
            {"limit": limit},
            prepare=False,
        )
        yield


def execute(cursor: psycopg.Cursor[Any], bound: BoundQuery, prefix: LiteralString = "") -> None:
    """Execute a query unprepared.

    Each window then gets a plan of its own, and poolers refuse prepared statements.
    """
    cursor.execute(sql.SQL(prefix) + bound.statement(), bound.values, prepare=False)


def _redacted(columns: tuple[Column, ...], row: Sequence[object]) -> tuple[object, ...]:
    def clean(unit: str, value: object) -> object:
        if value is not None and unit == "message":
            return redact_value(str(value))
        return redact_json(value) if unit == "json" else value

    return tuple(clean(column.unit, value) for column, value in zip(columns, row, strict=True))
