"""Whether what is installed is whole and as `migrate` left it: for evaluations, `check` and `--verify`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.schema.definitions import compose, verbatim

_UNFINISHED = (
    "a switch of the mode was begun and not finished, and its triggers may go on noting changes that nothing folds: "
    "run `analytics-refreshd migrate --incremental` to go on, or `analytics-refreshd migrate --plain` to take it back"
)
_REPLACE = (
    "`analytics-refreshd migrate --status` shows the difference, `analytics-refreshd migrate --replace` builds it again"
)
_TABLE_ALONE = "recent_failures"
"""The view that reads no rollup in either mode."""


@dataclass(frozen=True, slots=True)
class InstalledView:
    """A view by its definition: a fingerprint of that, and what it reads by oid.

    `reads_table` is whether it reads what is called action_results now; `calls` whether it calls a function that is not
    PostgreSQL's, what that reads being unknown.
    """

    name: str
    fingerprint: str | None
    reads_table: bool
    reads_rollups: bool
    calls: bool
    reads: list[str]


def _blocks() -> Mapping[str, str]:
    return blocks("schema/installation.sql")


def installed_views(connection: Connection, app_schema: str, views: Sequence[str]) -> list[InstalledView]:
    """Read the views' definitions from the catalogue."""
    with connection.cursor(row_factory=class_row(InstalledView)) as cursor:
        return cursor.execute(_blocks()["views"], {"schema": app_schema, "views": list(views)}).fetchall()


def recorded_views(connection: Connection) -> dict[str, dict[str, Any]]:
    """Read what `migrate` noted of the views, by name; nothing where that holds no more, or was never noted."""
    row = connection.execute(_blocks()["records"]).fetchone()
    if row is None or not row[0]:
        return {}
    row = connection.execute(compose(_blocks()["recorded"], anchor=verbatim(_blocks()["anchor"]))).fetchone()
    return dict(row[0]) if row and row[0] else {}


def record_views(app_schema: str, *, others: Sequence[str] = (), lost: Sequence[str] = ()) -> sql.Composed:
    """Return the command that notes by which definitions the views are now.

    `others` name views that are kept by a definition that never was ours, `lost` those whose own was ours.
    """
    return compose(
        _blocks()["record"],
        anchor=verbatim(_blocks()["anchor"]),
        app_name=sql.Literal(app_schema),
        others=sql.Literal(list(others)),
        lost=sql.Literal(list(lost)),
    )


def installation_problems(
    connection: Connection, app_schema: str, views: Sequence[str], mode: str | None
) -> tuple[str, ...]:
    """Return what is wrong with what is installed, one sentence each.

    `mode` is that of our schema, None where there is none, or it cannot be read.
    """
    found = []
    if mode == "plain":
        row = connection.execute(_blocks()["unfinished"]).fetchone()
        found += [_UNFINISHED] if row and row[0] else []
    recorded = recorded_views(connection) if mode is not None else {}
    for view in installed_views(connection, app_schema, views):
        problem = _problem(view, app_schema, mode, recorded.get(view.name))
        found += [f"{problem}: {_REPLACE}"] if problem else []
    return tuple(map(printable, found))


def _problem(view: InstalledView, app_schema: str, mode: str | None, recorded: Mapping[str, Any] | None) -> str | None:
    by_rollups = mode != "plain" and view.reads_rollups and view.name != _TABLE_ALONE
    if not (view.reads_table or by_rollups or view.calls):
        reads = ", ".join(view.reads) or "no table"
        return f"{app_schema}.{view.name} reads {reads}, and not what is called {app_schema}.action_results now"
    if recorded is not None and recorded["fingerprint"] != view.fingerprint:
        return f"{app_schema}.{view.name} has another query than the one that migrate gave it"
    return None
