"""The answer of `meta/refresh-status`: how fresh each view is; its size for callers who may see everything."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from analytics_refreshd.api.answers import frozen, moment, pagination, plain
from analytics_refreshd.api.asking import Asked
from analytics_refreshd.api.freshness import Known, Timing
from analytics_refreshd.api.reader import Admitted, Reader
from analytics_refreshd.api.routes import Route
from analytics_refreshd.postgres.catalogue.page import Page

_MOST_VIEWS = 1000


@dataclass(frozen=True, slots=True)
class Status:
    """What is known, and each view's row of the status function."""

    known: Known
    rows: Mapping[str, Mapping[str, object]]


def read_status(reader: Reader, route: Route, sizes: Admitted | None) -> Status:
    """Read the last successes, and by `sizes` rows and sizes. Raises DatabaseFault.

    Sizes tell of every tenant, so `sizes` is None for a tenant. The status function's own times are not taken: an older
    install's are those of a VACUUM.
    """
    if sizes is None:
        return Status(reader.known(), {})
    reading = reader.read(sizes, Page(_MOST_VIEWS))
    names = [field.name for field in route.endpoint.fields]
    found = [dict(zip(names, row, strict=True)) for row in reading.page.rows]
    return Status(reading.known, {str(row["view_name"]): row for row in found})


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
        "summary": {"all_views_fresh": not any(stale)},
        "pagination": pagination(len(every), len(rows), asked),
        "meta": {
            "as_of": moment(oldest),
            "generated_at": moment(now),
            "stale": any(stale),
            "window": None,
            "parameters": {name: plain(value) for name, value in asked.parameters.items()},
            "approximate": [],
            **frozen(status.known),
        },
    }


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
