"""Reads one page of a query's rows, in a chosen order."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from analytics_refreshd.postgres.catalogue.definition import Column
from analytics_refreshd.postgres.catalogue.redacting import REDACTED, redacted
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row, filled, reading
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.batch import Statement

MESSAGE_CHARACTERS = 65_536
"""How much of a message the server sends; less is left of it when it is redacted."""
_ROWS_AT_A_TIME = 100
_NUMBER, _TOTAL = "row number", "row total"
"""With a space, so that no column of a query has such a name."""
_LIMIT, _OFFSET = "LIMIT", "OFFSET"
"""Upper case, as no parameter of a query is."""


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
    return replace(bound, values={**bound.values, "limit": None}) if "limit" in bound.values else bound


def stream_rows(
    connection: Connection, bound: BoundQuery, page: Page, columns: Sequence[Column], *, stored: bool = False
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a page as they come.

    That may be all rows. Otherwise as `read_page`.
    """
    asks = page_statement(bound, page, columns)
    clean = _cleaner(columns, messages=not stored)
    with reading(bound.query), connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.stream(asks.text, asks.values, size=_chunk())
        # until it is closed it holds the connection's lock, which the end of the transaction needs
        with closing(cast("Generator[Row]", rows)):
            for row in rows:
                yield row[1:] if clean is None else clean(row[1:])


def _chunk() -> int:
    return _ROWS_AT_A_TIME if psycopg.capabilities.has_stream_chunked() else 1


def read_page(
    connection: Connection, bound: BoundQuery, page: Page, columns: Sequence[Column], *, stored: bool = False
) -> PageOfRows:
    """Read the page, with `columns` alone, in the caller's transaction.

    Messages and JSON are redacted; with `stored` messages are not. Raises psycopg.Error, and QueryFileError where the
    SQL cannot be read.
    """
    asks = page_statement(bound, page, columns)
    with reading(bound.query), connection.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(asks.text, asks.values, prepare=False).fetchall()
        if found or not page.offset:
            return page_of(found, columns, stored=stored)
        counts = total_statement(bound)
        ((total,),) = cursor.execute(counts.text, counts.values, prepare=False).fetchall()
    return PageOfRows((), int(total))


def page_of(found: Sequence[Row], columns: Sequence[Column], *, stored: bool = False) -> PageOfRows:
    """Return the page that the rows of a `page_statement` are. Without rows its total is not known, and 0."""
    if not found:
        return PageOfRows((), 0)
    clean = _cleaner(columns, messages=not stored)
    rows = [row[1:] for row in found] if clean is None else [clean(row[1:]) for row in found]
    return PageOfRows(tuple(rows), int(str(found[0][0])))


def _cleaner(columns: Sequence[Column], *, messages: bool) -> Callable[[Row], Row] | None:
    """Return what masks a row's secrets. None: these columns can hold none."""
    if not any(column.unit in REDACTED for column in columns):
        return None
    every = tuple(columns)
    return lambda row: redacted(every, row, messages=messages)


def page_statement(bound: BoundQuery, page: Page, columns: Sequence[Column]) -> Statement:
    """Return the statement that reads a page.

    Each of its rows begins with the number of all rows. Its text is the same for all values, so that a session can
    keep it prepared. In a batch the rows are as JSON has them.
    """
    every = unlimited(bound)
    read = tuple((column.name, column.unit) for column in columns)
    text = _paged(bound.query.body, bound.app_schema, _texts(bound), read, page.order, limited=bound.limited)
    return Statement(text, {**every.placeholders, _LIMIT: page.limit, _OFFSET: page.offset}, plain=True)


def total_statement(bound: BoundQuery) -> Statement:
    """Return the statement that counts the rows of all pages."""
    text = _counted(bound.query.body, bound.app_schema, _texts(bound), limited=bound.limited)
    return Statement(text, unlimited(bound).placeholders)


_Texts = tuple[tuple[str, str], ...]


def _texts(bound: BoundQuery) -> _Texts:
    return tuple(sorted(bound.sources.texts.items()))


@lru_cache(maxsize=1000)
def _paged(
    body: str,
    app_schema: str,
    texts: _Texts,
    columns: tuple[tuple[str, str], ...],
    order: tuple[str, bool] | None,
    *,
    limited: bool,
) -> str:
    numbered = sql.SQL("select body.*, row_number() over () as {number} from (\n{body}\n) as body").format(
        number=sql.Identifier(_NUMBER), body=filled(body, app_schema, dict(texts), limited=limited)
    )
    keys: list[sql.Composable] = []
    if order is not None:
        direction = sql.SQL(" desc nulls last" if order[1] else " asc nulls last")
        keys.append(sql.Identifier("answer", order[0]) + direction)
    keys.append(sql.Identifier("answer", _NUMBER))
    return (
        sql.SQL(
            "select count(*) over () as {total}, {columns} from (\n{numbered}\n) as answer order by {order}"
            " limit {limit} offset {offset}"
        )
        .format(
            total=sql.Identifier(_TOTAL),
            columns=sql.SQL(", ").join(_selected(name, unit) for name, unit in columns),
            numbered=numbered,
            order=sql.SQL(", ").join(keys),
            limit=sql.Placeholder(_LIMIT),
            offset=sql.Placeholder(_OFFSET),
        )
        .as_string(None)
    )


def _selected(column: str, unit: str) -> sql.Composable:
    name = sql.Identifier("answer", column)
    if unit == "money":
        # every digit: in a batch a number is read as a float
        return sql.SQL("{name}::text").format(name=name)
    if unit != "message":
        return name
    return sql.SQL("left({name}::text, {most})").format(name=name, most=sql.Literal(MESSAGE_CHARACTERS))


@lru_cache(maxsize=1000)
def _counted(body: str, app_schema: str, texts: _Texts, *, limited: bool) -> str:
    counted = sql.SQL("select count(*) from (\n{body}\n) as body")
    return counted.format(body=filled(body, app_schema, dict(texts), limited=limited)).as_string(None)
