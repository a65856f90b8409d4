"""Reads how action_results is laid out."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.partitions import Hanging, Kind, Layout, Month, Partition, default_name, wanted
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.schema.definitions import compose

WORKING_NAME = "action_results_by_month"
_BOUNDS = re.compile(r"^FOR VALUES FROM \((?P<since>.*)\) TO \((?P<until>.*)\)$")


def query(name: str, /, **names: sql.Composable) -> sql.Composed:
    """Return the block `name` of `layout.sql` with its placeholders filled."""
    found = blocks("partitions/layout.sql")
    return compose(found[name], timed=compose(found["timed"]), **names)


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of the tables, quoted: the log, and the table whose properties a new month gets."""

    schema: str
    pattern: str | None

    def name(self, table: str) -> str:
        """Return the name of a table of the application's schema, quoted."""
        return sql.Identifier(self.schema, table).as_string()

    @property
    def log(self) -> str:
        """Action_results."""
        return self.name("action_results")

    @property
    def template(self) -> str:
        """The table that is as a new month is to be: the DEFAULT, else the newest partition, else the log."""
        return self.pattern or self.log


def read(connection: Connection, app_schema: str) -> tuple[Layout, Tables, str]:
    """Read the layout, the tables' names, and the database's name.

    Inside a transaction that shows times in UTC. Raises MigrationError where there is no action_results.
    """
    log = sql.Identifier(app_schema, "action_results").as_string()
    row = connection.execute(query("table"), {"table": log}).fetchone()
    if row is None or row[2] not in ("r", "p"):
        raise MigrationError(f"there is no table {app_schema}.action_results: set [database] schema")
    now, database, _, owner, key, time_type, rows, _, partman = row
    partitions = _partitions(connection, log)
    default = next((each for each in partitions if each.default), None)
    newest = default or (partitions[-1] if partitions else None)
    tables = Tables(app_schema, sql.Identifier(newest.schema, newest.name).as_string() if newest else None)
    names: dict[str, str | list[str]] = {"table": log, "schema": app_schema, "views": list(VIEWS)}
    months = {month.table: month for month in wanted(now)}
    taken = _names(connection, "tables", schema=app_schema, names=list(months))
    layout = Layout(
        now=now.astimezone(UTC),
        schema=app_schema,
        owner=str(owner),
        key=key,
        time_type=time_type,
        rows=max(rows, 0) if key is None else sum(each.rows for each in partitions),
        partitions=partitions,
        hanging=() if key is not None else _hanging(connection, log),
        stale_views=_names(connection, "stale_views" if key is not None else "reading_views", **names),
        held=_held(
            connection, Partition(app_schema, "action_results", True, None, None) if key is None else default, now
        ),
        taken=tuple(months[name] for name in taken),
        leftovers=_leftovers(connection, default),
        partman=partman,
    )
    return layout, tables, str(database)


def _names(connection: Connection, name: str, **values: str | list[str]) -> tuple[str, ...]:
    return tuple(str(found) for (found,) in connection.execute(query(name), values))


def _partitions(connection: Connection, log: str) -> tuple[Partition, ...]:
    found = []
    for schema, name, bound, rows in connection.execute(query("partitions"), {"table": log}):
        match = _BOUNDS.match(bound)
        since, until = (_bound(match["since"]), _bound(match["until"])) if match else (None, None)
        found.append(Partition(schema, name, bound == "DEFAULT", since, until, rows))
    return tuple(found)


def _bound(text: str) -> datetime | None:
    """Read a bound; None for none, and for what no datetime can hold."""
    try:
        return datetime.fromisoformat(text.strip("'")).astimezone(UTC)
    except ValueError:
        return None


def _hanging(connection: Connection, log: str) -> tuple[Hanging, ...]:
    values = {"table": log, "views": list(VIEWS), "needed": [default_name(), WORKING_NAME]}
    return tuple(Hanging(Kind(kind), described) for kind, described in connection.execute(query("hanging"), values))


def _held(connection: Connection, default: Partition | None, now: datetime) -> tuple[Month, ...]:
    return tuple(month for month in wanted(now) if _holds(connection, default, month))


def _holds(connection: Connection, default: Partition | None, month: Month) -> bool:
    if default is None:
        return False
    statement = query("held", default=sql.Identifier(default.schema, default.name))
    row = connection.execute(statement, {"since": month.start, "until": month.end}).fetchone()
    return bool(row and row[0])


def _leftovers(connection: Connection, default: Partition | None) -> tuple[str, ...]:
    if default is None:
        return ()
    return _names(connection, "leftovers", table=sql.Identifier(default.schema, default.name).as_string())
