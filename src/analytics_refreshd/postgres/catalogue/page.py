"""Reads one page of a query's rows, in a chosen order."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from analytics_refreshd.postgres.catalogue.definition import Column
from analytics_refreshd.postgres.catalogue.redacting import redacted
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row, reading
from analytics_refreshd.postgres.connection import Connection

_MESSAGE_CHARACTERS = 65_536
"""How much of a message the server sends; less is left of it when it is redacted."""
_ROWS_AT_A_TIME = 100
_NUMBER, _TOTAL = "row number", "row total"
"""With a space, so that no column of a query has such a name."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows: `limit` of them from `offset` on; None: all.

    `order` is a column and whether it descends; None is the query's own order, which also breaks ties.
    """

    limit: int | None
    offset: int = 0
    order: tuple[str, bool] | None = None


@dataclass(frozen=True, slots=True)
class PageOfRows:
    """The rows of a page, and how many there are in all."""

    rows: tuple[Row, ...]
    total: int


def unlimited(bound: BoundQuery) -> BoundQuery:
    """Return the query without its own limit of rows."""
    values = dict(bound.values)
    if "limit" in values:
        values["limit"] = None
    return replace(bound, values=values)


def stream_rows(
    connection: Connection, bound: BoundQuery, page: Page, columns: Sequence[Column], *, stored: bool = False
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a page as they come.

    That may be all rows. Otherwise as `read_page`.
    """
    every = unlimited(bound)
    with reading(bound.query), connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.stream(_statement(every, page, columns), every.placeholders, size=_chunk())
        # until it is closed it holds the connection's lock, which the end of the transaction needs
        with closing(cast("Generator[Row]", rows)):
            for row in rows:
                yield redacted(tuple(columns), row[1:], messages=not stored)


def _chunk() -> int:
    return _ROWS_AT_A_TIME if psycopg.capabilities.has_stream_chunked() else 1


def read_page(
    connection: Connection, bound: BoundQuery, page: Page, columns: Sequence[Column], *, stored: bool = False
) -> PageOfRows:
    """Read the page, with `columns` alone, in the caller's transaction.

    Messages and JSON are redacted; with `stored` messages are not. Raises psycopg.Error, and QueryFileError where the
    SQL cannot be read.
    """
    every = unlimited(bound)
    with reading(bound.query), connection.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(_statement(every, page, columns), every.placeholders, prepare=False).fetchall()
        if found:
            rows = tuple(redacted(tuple(columns), row[1:], messages=not stored) for row in found)
            return PageOfRows(rows, int(found[0][0]))
        total = _total(cursor, every) if page.offset else 0
    return PageOfRows((), total)


def _statement(bound: BoundQuery, page: Page, columns: Sequence[Column]) -> sql.Composed:
    numbered = sql.SQL("select body.*, row_number() over () as {number} from (\n{body}\n) as body").format(
        number=sql.Identifier(_NUMBER), body=bound.statement()
    )
    order: list[sql.Composable] = []
    if page.order is not None:
        direction = sql.SQL(" desc nulls last" if page.order[1] else " asc nulls last")
        order.append(sql.Identifier("answer", page.order[0]) + direction)
    order.append(sql.Identifier("answer", _NUMBER))
    return sql.SQL(
        "select count(*) over () as {total}, {columns} from (\n{numbered}\n) as answer order by {order}"
        " limit {limit} offset {offset}"
    ).format(
        total=sql.Identifier(_TOTAL),
        columns=sql.SQL(", ").join(_selected(column) for column in columns),
        numbered=numbered,
        order=sql.SQL(", ").join(order),
        limit=sql.Literal(page.limit),
        offset=sql.Literal(page.offset),
    )


def _selected(column: Column) -> sql.Composable:
    name = sql.Identifier("answer", column.name)
    if column.unit != "message":
        return name
    return sql.SQL("left({name}::text, {most})").format(name=name, most=sql.Literal(_MESSAGE_CHARACTERS))


def _total(cursor: "Any", bound: BoundQuery) -> int:
    """Count the rows, where the page lies after the last one."""
    counted = sql.SQL("select count(*) from (\n{body}\n) as body").format(body=bound.statement())
    return int(cursor.execute(counted, bound.placeholders, prepare=False).fetchone()[0])
