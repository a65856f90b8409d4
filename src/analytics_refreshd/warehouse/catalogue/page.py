"""Writes the SQL of one page of rows, in a chosen order."""

from dataclasses import dataclass
from functools import lru_cache

from analytics_refreshd.warehouse.catalogue.definition import Answer
from analytics_refreshd.warehouse.catalogue.statement import Asked, Statement, filled, known_values, parameters
from analytics_refreshd.warehouse.tables import identifier

MOST_ROWS = 200_000
"""More rows than this are no answer."""
_LIMIT = "\n limit {limit:UInt64}"
_ORDER = "\n order by "
_NUMBER, _TOTAL = "row number", "row total"
"""With a space, so that no column of a query has such a name."""


@dataclass(frozen=True, slots=True)
class PageOf:
    """Which columns of which rows: `limit` of them from `offset` on; None: all.

    `order` is a column and whether it descends; None is the query's own order, which also breaks ties.
    """

    columns: tuple[str, ...]
    limit: int | None
    offset: int = 0
    order: tuple[str, bool] | None = None


def page_statement(asked: Asked, page: PageOf, target: str) -> Statement:
    """Write the statement that reads a page.

    Each of its rows begins with the number of all rows; of a fleet, the database of the row comes next, if it is of
    one. The query's own limit does not count.
    """
    rows, order = parts(asked.answer)
    # one row has no order
    number = f"row_number() over (order by {order})" if order else "1"
    keys = [_key(*page.order)] if page.order is not None else []
    names = (*(["database"] if asked.fleet and asked.answer.of_database else []), *page.columns)
    text = (
        f"select count() over () as {identifier(_TOTAL)}, {', '.join(map(_column, names))}\n"  # noqa: S608 - names of ours
        f"  from (\nselect {number} as {identifier(_NUMBER)}, {rows}\n) as answer\n"
        f" order by {', '.join([*keys, _column(_NUMBER)])}\n"
        " limit {LIMIT:UInt64} offset {OFFSET:UInt64}"
    )
    most = MOST_ROWS + 1 if page.limit is None else page.limit
    return _statement(text, asked, target, {"LIMIT": most, "OFFSET": page.offset})


def total_statement(asked: Asked, target: str) -> Statement:
    """Write the statement that counts the rows of all pages."""
    rows, _ = parts(asked.answer)
    return _statement(f"select count() from (\nselect {rows}\n) as answer", asked, target, {})  # noqa: S608 - ours


@lru_cache(maxsize=100)
def parts(answer: Answer) -> tuple[str, str]:
    """Return a query's text after `select` without its end, and its order.

    The end is its order and limit; a query of one row has no order. What is ordered or limited within it is indented
    further. Raises ValueError, a mistake in the package.
    """
    rows, _, order = answer.body.removesuffix(_LIMIT).partition(_ORDER)
    if not rows.startswith("select ") or _ORDER in order or "{limit" in rows + order:
        raise ValueError(f"{answer.name}.sql does not begin with its select, or end with its order and limit")
    return rows.removeprefix("select "), order


def _statement(text: str, asked: Asked, target: str, paging: dict[str, int]) -> Statement:
    # pages are the API's, which never shows what the other side answered
    whole = filled(text, asked, target, responses=False)
    return Statement(whole, parameters(whole, known_values(asked) | paging))


def _key(column: str, descends: bool) -> str:
    return f"{_column(column)} {'desc' if descends else 'asc'} nulls last"


def _column(name: str) -> str:
    return f"answer.{identifier(name)}"
