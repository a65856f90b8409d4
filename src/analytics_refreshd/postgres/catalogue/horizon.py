"""Lets queries read frozen days for what is before the horizon."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from analytics_refreshd.postgres.catalogue.definition import ParameterError
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


@dataclass(frozen=True, slots=True)
class Horizon:
    """Figures before `until` are frozen.

    Those of organizations are known since `days_since`, or ever if that is None.
    """

    until: datetime
    days_since: datetime | None = None


def in_database(connection: Connection, bound: BoundQuery, now: datetime) -> BoundQuery:
    """Return `bound` as it must be asked in this database.

    As `with_horizon`; where this role may not read frozen days, a note says so.
    """
    since = bound.values.get("since")
    if not isinstance(since, datetime) or now - since < _LEAST_AGE or not bound.sources.rows:
        return bound
    statements = blocks("catalogue/relations/horizon.sql")
    readable = connection.execute(statements["readable"]).fetchone()
    if readable is None:
        return bound
    if not readable[0]:
        return replace(bound, notes=(*bound.notes, _UNREADABLE))
    row = connection.execute(statements["horizon"]).fetchone()
    return bound if row is None else with_horizon(bound, Horizon(*row))


def may_reach(bound: BoundQuery) -> bool:
    """Whether a horizon can lie within what it reads."""
    since, now = bound.values.get("since"), bound.values.get("now")
    old = isinstance(since, datetime) and isinstance(now, datetime) and now - since >= _LEAST_AGE
    return old and bound.sources.rows


def with_horizon(bound: BoundQuery, horizon: Horizon | None) -> BoundQuery:
    """Return `bound` as it must be asked where the horizon is there.

    Where its window begins before the horizon, it reads frozen days for what is older, and its `notes` say so. Raises
    ParameterError for a query that whole days cannot answer.
    """
    since, sources = bound.values.get("since"), bound.sources
    if horizon is None or not isinstance(since, datetime) or since >= horizon.until or not sources.rows:
        return bound
    until = f"{horizon.until:%Y-%m-%d %H:%M} UTC"
    if not sources.days:
        return replace(bound, notes=(*bound.notes, _ROWS_ALONE.format(until=until)))
    if not bound.query.days:
        raise ParameterError(
            f"{bound.query.name} limited to organizations or a trigger needs rows, and before {until} only days are "
            f"kept of these: ask --since {horizon.until:%Y-%m-%dT%H:%M:%SZ}"
        )
    notes = (*bound.notes, *_notes(until, horizon.days_since, since))
    return replace(bound, frozen_until=horizon.until, notes=notes)


def _notes(until: str, days_since: datetime | None, since: datetime) -> Iterator[str]:
    yield (
        f"before {until} frozen days count, with the organization of that time: whole days of UTC, those whose noon is "
        "in the window"
    )
    if days_since is not None and since < days_since:
        yield f"nothing is known of organizations before {days_since:%Y-%m-%d %H:%M} UTC"
