"""The answer of `meta/refresh-status`: how fresh each view is; its size for callers who may see everything."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from analytics_refreshd.api.answers import cost_of, frozen, moment, pagination, plain
from analytics_refreshd.api.asking import Asked
from analytics_refreshd.api.engine import Admitted
from analytics_refreshd.api.freshness import Known, Timing
from analytics_refreshd.api.reader import Reader
from analytics_refreshd.api.routes import Route
from analytics_refreshd.core.cost import FIGURES
from analytics_refreshd.core.outlook import Outlook
from analytics_refreshd.observe.jsonable import plain as as_in_status
from analytics_refreshd.observe.status.field import as_document
from analytics_refreshd.observe.status.outlook_fields import OUTLOOK_FIELDS
from analytics_refreshd.observe.status.schema import object_schema
from analytics_refreshd.postgres.catalogue.page import Page
from analytics_refreshd.postgres.tenants.live import LastCost

_MOST_VIEWS = 1000


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of the views.

    For who sees all it has each view's row of the status function, what the last run cost, and when limits are reached.
    """

    known: Known
    rows: Mapping[str, Mapping[str, object]]
    sees_all: bool = False
    cost: LastCost | None = None
    outlooks: tuple[Outlook, ...] = ()


def summary_schema() -> dict[str, object]:
    """Return what the OpenAPI document says of the answer's `summary`."""
    cost = {
        "type": ["object", "null"],
        "description": "What the last refresh cost the server, for keys for all organizations; null is unknown",
        "properties": {name: {"type": ["integer", "null"]} for name in ("rows_folded", *FIGURES)},
    }
    outlook = {
        "type": "array",
        "description": "When limits are reached if figures go on as they do, for keys for all organizations; read "
        "once an hour",
        "items": object_schema(OUTLOOK_FIELDS),
    }
    properties = {"all_views_fresh": {"type": "boolean"}, "last_cost": cost, "outlook": outlook}
    return {"type": "object", "required": ["all_views_fresh"], "properties": properties}


def read_status(reader: Reader, route: Route, sizes: Admitted | None) -> Status:
    """Read the last successes, and by `sizes` rows and sizes.

    Sizes tell of every tenant, so `sizes` is None for a tenant; with them come the last run's cost and the outlooks.
    The status function's own times are not taken: an older install's are those of a VACUUM. Raises DatabaseFault.
    """
    if sizes is None:
        return Status(reader.known(), {})
    reading = reader.read(sizes, Page(_MOST_VIEWS))
    names = [field.name for field in route.endpoint.fields]
    found = [dict(zip(names, row, strict=True)) for row in reading.page.rows]
    rows = {str(row["view_name"]): row for row in found}
    return Status(reading.known, rows, sees_all=True, cost=reader.last_cost(), outlooks=reader.outlooks.get())


def status_document(route: Route, asked: Asked, status: Status, timing: Timing, now: datetime) -> dict[str, object]:
    """Return the answer's members.

    The views come in the configuration's order unless another is asked for.
    """
    every = [_row(view, status, now) for view in timing.views]
    if asked.page.order is not None:
        name, descends = asked.page.order
        known = [row for row in every if row[name] is not None]
        known.sort(key=lambda row: row[name], reverse=descends)  # type: ignore[arg-type, return-value]
        every = [*known, *(row for row in every if row[name] is None)]
    page = asked.page
    rows = every[page.offset :][: page.limit]
    stale = [timing.stale(view, status.known.successes, now) for view in timing.views]
    known_times = [status.known.successes.get(view) for view in timing.views]
    oldest = None if None in known_times else min(at for at in known_times if at is not None)
    return {
        "data": [{field.name: plain(row[field.name]) for field in route.endpoint.fields} for row in rows],
        "summary": {
            "all_views_fresh": not any(stale),
            **(_for_all(status) if status.sees_all else {}),
        },
        "pagination": pagination(len(every), len(rows), asked),
        "meta": {
            "as_of": moment(oldest),
            "generated_at": moment(now),
            "stale": any(stale),
            "window": None,
            "parameters": {name: plain(value) for name, value in asked.parameters.items()},
            "approximate": [],
            **frozen(status.known),
            "engine": status.known.engine,
        },
    }


def _for_all(status: Status) -> dict[str, object]:
    outlook = [as_in_status(as_document(each, OUTLOOK_FIELDS)) for each in status.outlooks]
    return {"last_cost": cost_of(status.cost), "outlook": outlook}


def _row(view: str, status: Status, now: datetime) -> dict[str, object]:
    at = status.known.successes.get(view)
    known = status.rows.get(view, {})
    return {
        "view_name": view,
        "row_count": known.get("row_count"),
        "size_bytes": known.get("size_bytes"),
        "last_refresh": at,
        "age_minutes": None if at is None else round(max(0.0, (now - at).total_seconds()) / 60, 2),
    }
