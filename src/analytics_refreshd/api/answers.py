"""The documents that answer requests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any
from urllib.parse import urlencode

from analytics_refreshd.api.asking import Asked
from analytics_refreshd.api.freshness import Known, as_of
from analytics_refreshd.api.routes import MOST_OFFSET, Route
from analytics_refreshd.core.cost import FIGURES
from analytics_refreshd.core.display import exact_text, json_number
from analytics_refreshd.core.wording import rfc3339
from analytics_refreshd.postgres.catalogue.endpoint import Field
from analytics_refreshd.postgres.catalogue.page import PageOfRows
from analytics_refreshd.postgres.catalogue.run import BoundQuery
from analytics_refreshd.postgres.catalogue.sources import Sources
from analytics_refreshd.postgres.catalogue.spans import zone_of
from analytics_refreshd.postgres.catalogue.zones import later
from analytics_refreshd.postgres.tenants.live import LastCost

_AS_IT_IS = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read for an answer, in one transaction: a page, the row beside it, and what is known of the database.

    `bound` is the query as it was asked there.
    """

    bound: BoundQuery
    page: PageOfRows
    summary: tuple[object, ...] | None
    known: Known


def document(
    route: Route, asked: Asked, reading: Reading, sources: Sources, now: datetime, *, stale: bool
) -> dict[str, object]:
    """Return the members of an answer: `data`, `pagination` of a list, `summary` where there is one, and `meta`.

    For `as_body`: its rows are as they were read.
    """
    names = route.names(fleet=asked.fleet)
    rows = [dict(zip(names, row, strict=True)) for row in reading.page.rows]
    bound, successes = reading.bound, reading.known.successes
    approximated = {column.name for column in bound.columns if column.approximated}
    answer: dict[str, object] = {"data": rows if route.endpoint.shape == "list" else rows[0]}
    if route.summary is not None and reading.summary is not None:
        answer["summary"] = as_object(route.summary.api.fields, reading.summary)
    if route.endpoint.shape == "list":
        answer["pagination"] = pagination(reading.page.total, len(rows), asked)
    answer["meta"] = {
        "as_of": moment(as_of(sources.views, successes, rows=sources.rows, now=now)),
        "generated_at": moment(now),
        "stale": stale,
        "window": window(bound),
        "parameters": {name: plain(value) for name, value in asked.parameters.items()},
        "approximate": [field.name for field in route.endpoint.fields if field.column.name in approximated],
        **frozen(reading.known, bound.notes),
        "engine": reading.known.engine,
    }
    return answer


def as_body(answer: Mapping[str, object]) -> bytes:
    """Serialize an answer."""
    try:
        text = _ENCODER.encode(answer)
    except ValueError:
        # a row has a number that JSON lacks
        text = _ENCODER.encode(plain(answer))
    return text.encode("utf-8", "replace")


def frozen(known: Known, notes: Sequence[str] = ()) -> dict[str, object]:
    """Return what `meta` says of the horizon: where it is, and what it means for the answer."""
    until = known.horizon.until if known.horizon is not None else None
    return {"frozen_until": moment(until), "notes": list(notes)}


def cost_of(found: LastCost | None) -> dict[str, int | None] | None:
    """Return what the last run cost, None if unknown."""
    if found is None:
        return None
    figures = {} if found.cost is None else found.cost.known()
    return {"rows_folded": found.rows_folded, **{name: figures.get(name) for name in FIGURES}}


def as_object(fields: Sequence[Field], row: Sequence[object]) -> dict[str, object]:
    """Return a row as JSON has it."""
    return {field.name: _value(field, value) for field, value in zip(fields, row, strict=True)}


def _value(field: Field, value: object) -> object:
    return exact_text(value) if field.column.unit == "money" else plain(value)


def pagination(total: int, shown: int, asked: Asked) -> dict[str, object]:
    """Return where the page lies among all rows."""
    page = asked.page
    return {
        "total": total,
        "limit": page.limit,
        "offset": page.offset,
        "has_more": page.offset + shown < total and shown > 0,
    }


def links(path: str, items: Sequence[tuple[str, str]], total: int, asked: Asked) -> str:
    """Return the Link header, with rel next and prev.

    Empty for a page that is all.
    """
    page, limit = asked.page, asked.page.limit or 0
    others = [(name, value) for name, value in items if name not in ("limit", "offset")]

    def link(offset: int, relation: str) -> str:
        query = urlencode([*others, ("limit", str(limit)), ("offset", str(offset))])
        return f'<{path}?{query}>; rel="{relation}"'

    found = []
    if page.offset + limit < total and page.offset + limit <= MOST_OFFSET:
        found.append(link(page.offset + limit, "next"))
    if page.offset > 0:
        found.append(link(max(0, page.offset - limit), "prev"))
    return ", ".join(found)


def window(bound: BoundQuery) -> dict[str, object] | None:
    """Return the stretch of time of the answer.

    What is read before it, to compare with, does not count.
    """
    since, until = bound.values.get("since"), bound.values.get("until")
    if not isinstance(since, datetime) or not isinstance(until, datetime):
        return None
    own = bound.query.window
    if own is not None and own.step is not None and own.before:
        since = later(own.step, since, own.before, zone_of(bound.values))
    return {"since": moment(since), "until": moment(until)}


def moment(at: datetime | None) -> str | None:
    """Write a time as the API does."""
    return None if at is None else rfc3339(at, "auto")


def plain(value: object) -> Any:
    """Return a value as JSON has it."""
    if type(value) in _AS_IT_IS or (type(value) is float and isfinite(value)):
        return value
    if isinstance(value, Decimal):
        return json_number(value)
    if isinstance(value, datetime):
        return rfc3339(value, "auto")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    number = json_number(value)
    return number if number is None or isinstance(number, str | int | float | bool) else str(number)


# most values are as JSON has them: only others are looked at
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False, default=plain
)
