"""Reads what the stream tells, as the role of the API."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg.rows import tuple_row

from analytics_refreshd.core.cost import FIGURES, Cost, known_cost
from analytics_refreshd.core.live import Counts
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.batch import BatchConnection, Statement
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.tenants.wall import admitting

_FILE = "tenants/live.sql"
Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class LastCost:
    """What a run cost, and how many changes it folded. None is unknown; in plain mode nothing is folded."""

    rows_folded: int | None
    cost: Cost | None


def fold_marker(connection: Connection) -> str | None:
    """Return a text that is another one after each fold.

    None where changes are not captured, or the functions of the stream are missing. Raises psycopg.Error.
    """
    if _rows(connection, "readable", {}) != [(True,)]:
        return None
    ((marker,),) = _rows(connection, "marker", {})
    return None if marker is None else str(marker)


def waiting_hours(connection: Connection, since: datetime, until: datetime) -> dict[datetime, Counts]:
    """Return the sums of changes that wait, of who is admitted. Raises psycopg.Error."""
    return _hours(connection, "waiting", {"since": since, "until": until})


def waiting_hours_of(
    connection: BatchConnection, tokens: Sequence[str], since: datetime, until: datetime
) -> list[dict[datetime, Counts]]:
    """Return those sums for each token, in one round trip. Raises psycopg.Error."""
    asked = Statement(blocks(_FILE)["waiting"], {"since": since, "until": until})
    pairs = [(admitting(token), asked) for token in tokens]
    return [_by_hour(rows) for rows in connection.batch([one for pair in pairs for one in pair])[1::2]]


def whole_hours(
    connection: Connection, organizations: Sequence[str] | None, since: datetime, until: datetime
) -> dict[datetime, Counts]:
    """Return the sums of all that is folded, or of rows.

    Those of `organizations` are of their rows, which hold what waits for a fold, too. Raises psycopg.Error.
    """
    values: dict[str, object] = {"since": since, "until": until}
    if organizations is None:
        return _hours(connection, "folded", values)
    return _hours(connection, "rows", {**values, "organizations": list(organizations)})


def last_runs(connection: Connection) -> list[Row]:
    """Return the run under way and the last one that ended. Raises psycopg.Error."""
    return _rows(connection, "runs", {})


def last_cost(connection: Connection) -> LastCost | None:
    """Return what the last run that ended cost.

    None for who does not see all, or where an older `migrate --tenants` made no function for it. Raises psycopg.Error.
    """
    if _rows(connection, "tells_cost", {}) != [(True,)]:
        return None
    for row in _rows(connection, "cost", {}):
        folded, *figures = (None if figure is None else int(str(figure)) for figure in row)
        return LastCost(folded, known_cost(dict(zip(FIGURES, figures, strict=True))))
    return None


def firing_alerts(connection: Connection) -> list[Row]:
    """Return the alerts that fire. Raises psycopg.Error."""
    return _rows(connection, "alerts", {})


def streams(connection: Connection) -> bool:
    """Whether this role may read runs and alerts: an older `migrate --tenants` made no functions for it."""
    return _rows(connection, "readable", {}) == [(True,)]


def _hours(connection: Connection, name: str, values: dict[str, object]) -> dict[datetime, Counts]:
    return _by_hour(_rows(connection, name, values))


def _by_hour(found: Sequence[Row]) -> dict[datetime, Counts]:
    return {_utc(hour): Counts(*(int(str(figure)) for figure in figures)) for hour, *figures in found}


def _rows(connection: Connection, name: str, values: dict[str, object]) -> list[Row]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(blocks(_FILE)[name], values, prepare=False).fetchall()


def _utc(at: object) -> datetime:
    assert isinstance(at, datetime)  # noqa: S101 - the column is an hour
    return at.astimezone(UTC)
