"""Lets queries read frozen days for what is before the horizon."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from analytics_refreshd.postgres.catalogue.definition import ParameterError
from analytics_refreshd.postgres.catalogue.files import relations
from analytics_refreshd.postgres.catalogue.run import BoundQuery
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_LEAST_AGE = timedelta(days=29)
"""No horizon is nearer than this: the views read 30 days of rows."""


_ROWS_ALONE = "rows before {until} may be deleted, and this counts those that are there"
_UNREADABLE = (
    "this role may not read frozen figures, so what was deleted is missing: run deploy/sql/grants.sql or "
    "deploy/sql/reader.sql again"
)


def with_horizon(connection: Connection, bound: BoundQuery, now: datetime) -> BoundQuery:
    """Return `bound` as it must be asked in this database.

    Where its window begins before the horizon, it reads frozen days for what is older, and its `notes` say so. Raises
    ParameterError for a query that whole days cannot answer.
    """
    since = bound.values.get("since")
    if not isinstance(since, datetime) or now - since < _LEAST_AGE:
        return bound
    if not _reads_days(bound) and not bound.query.reads_rows:
        return bound
    statements = blocks("catalogue/relations/horizon.sql")
    readable = connection.execute(statements["readable"]).fetchone()
    if readable is None:
        return bound
    if not readable[0]:
        return replace(bound, notes=(_UNREADABLE,))
    row = connection.execute(statements["horizon"], {"since": since}).fetchone()
    if row is None:
        return bound
    until, days_since = row
    if not _reads_days(bound):
        return replace(bound, notes=(_ROWS_ALONE.format(until=f"{until:%Y-%m-%d %H:%M} UTC"),))
    if not bound.query.days:
        raise ParameterError(
            f"{bound.query.name} limited to organizations needs rows, and before {until:%Y-%m-%d %H:%M} UTC only days "
            f"are kept of each organization: ask --since {until:%Y-%m-%dT%H:%M:%SZ}"
        )
    return replace(bound, frozen_until=until, notes=tuple(_notes(until, days_since, since)))


def _notes(until: datetime, days_since: datetime | None, since: datetime) -> Iterator[str]:
    yield (
        f"before {until:%Y-%m-%d %H:%M} UTC frozen days count, with the organization of that time: whole days of UTC, "
        "those whose noon is in the window"
    )
    if days_since is not None and since < days_since:
        yield f"nothing is known of organizations before {days_since:%Y-%m-%d %H:%M} UTC"


def _reads_days(bound: BoundQuery) -> bool:
    suffix = " limited" if bound.limited else ""
    return any(f"{name}{suffix} frozen" in relations() for name in bound.query.relations)
