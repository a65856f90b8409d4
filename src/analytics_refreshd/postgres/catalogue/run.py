"""Running catalogue queries: read-only, in UTC, with every value bound."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.core.redaction import redact_json, redact_value
from analytics_refreshd.postgres.catalogue.definition import Column, Query, QueryFileError
from analytics_refreshd.postgres.catalogue.files import relations

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Result:
    """Rows in the order of `columns`; numbers as int, float or Decimal, times as aware datetimes.

    `parameters` holds every bound value, `since` and `until` included where the query has a window.
    """

    query: Query
    columns: tuple[Column, ...]
    rows: tuple[tuple[object, ...], ...]
    parameters: Mapping[str, object]


def statement(
    query: Query, app_schema: str, *, limited: bool, replaced: Mapping[str, str] | None = None
) -> sql.Composed:
    """The SQL text with its relations filled in and placeholders left; `replaced` overrides relations."""
    suffix = " limited" if limited else ""
    app = sql.Identifier(app_schema)
    chosen = {name: relations()[name + suffix] for name in query.relations} | dict(replaced or {})
    filled = {name: sql.SQL(text).format(app=app) for name, text in chosen.items()}
    return sql.SQL(query.body).format(app=app, **filled)


def printed(query: Query, values: Mapping[str, object], app_schema: str) -> str:
    """The statement as psql accepts it, values written as literals; for people to read, never to execute here."""
    text = statement(query, app_schema, limited="organizations" in values).as_string(None)

    def literal(match: re.Match[str]) -> str:
        return "%" if match[0] == "%%" else sql.Literal(values[match[1]]).as_string(None)

    return re.sub(r"%\((\w+)\)s|%%", literal, text) + ";"


def run(
    connection: Connection,
    query: Query,
    parameters: Mapping[str, object],
    organizations: Sequence[str] | None,
    now: datetime,
    app_schema: str,
    raw: bool = False,
) -> Result:
    """Answer `query` in a read-only transaction of its own.

    `organizations` None is no limit. Unless `raw`, message and json columns are redacted. Raises ParameterError
    for a bad value, psycopg.Error from the database, and QueryFileError where the columns are not the declared ones.
    """
    values = query.bind(parameters, organizations, now)
    with read_only(connection), connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        execute(cursor, query, values, app_schema)
        names = [column.name for column in cursor.description or ()]
        rows = cursor.fetchall() if cursor.description else []
    declared = [column.name for column in query.columns]
    if names != declared:
        raise QueryFileError(
            f"{query.file}:1: the columns returned are {', '.join(names) or 'none'}; declared are {', '.join(declared)}"
        )
    shown = tuple(tuple(row) if raw else _redacted(query.columns, row) for row in rows)
    return Result(query, query.columns, shown, values)


def explain(
    connection: Connection,
    query: Query,
    parameters: Mapping[str, object],
    organizations: Sequence[str] | None,
    now: datetime,
    app_schema: str,
) -> list[str]:
    """The lines of EXPLAIN (ANALYZE, BUFFERS); the query runs to its end, read-only."""
    values = query.bind(parameters, organizations, now)
    with read_only(connection), connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        execute(cursor, query, values, app_schema, prefix="explain (analyze, buffers) ")
        return [str(row[0]) for row in cursor.fetchall()]


@contextmanager
def read_only(connection: Connection, timeout_ms: int | None = None) -> Iterator[None]:
    """A transaction that can neither write nor follow the session's time zone."""
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


def execute(
    cursor: psycopg.Cursor[Any], query: Query, values: Mapping[str, object], app_schema: str, prefix: str = ""
) -> None:
    """Unprepared: each window gets a plan of its own, and poolers refuse prepared statements."""
    text = statement(query, app_schema, limited="organizations" in values)
    cursor.execute(sql.SQL("{}{}").format(sql.SQL(prefix), text), values, prepare=False)


def _redacted(columns: tuple[Column, ...], row: Sequence[object]) -> tuple[object, ...]:
    def clean(unit: str, value: object) -> object:
        if value is not None and unit == "message":
            return redact_value(str(value))
        return redact_json(value) if unit == "json" else value

    return tuple(clean(column.unit, value) for column, value in zip(columns, row, strict=True))
