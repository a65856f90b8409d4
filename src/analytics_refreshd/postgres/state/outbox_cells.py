"""The queries for what a warehouse holds: cells as they were at a batch, and whole small tables."""

from typing import IO

from psycopg import sql

from analytics_refreshd.core.warehouse import NO_HOUR, Range
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.incremental.blocks import block as incremental
from analytics_refreshd.postgres.schema.definitions import compose

_FILE = "state/outbox.sql"
_MINUS_INFINITY, _INFINITY = NO_HOUR + 1, 2**63 - 1
HOUR_AT = incremental("outbox", "hour_at")
_EMPTY = sql.SQL("")
_TIMES = {
    "triggers": {"created_at": "t.created_at", "first_at": "c.first_at", "last_at": "c.last_at"},
    "recent_failures": {"executed_at": "f.executed_at"},
    "action_type_distribution": {"last_execution_at": "d.last_execution_at"},
}


def block(name: str, /, **names: sql.Composable) -> sql.Composed:
    """Fill the placeholders of a block of `state/outbox.sql`."""
    return compose(blocks(_FILE)[name], **names)


def query(
    connection: BoundedConnection,
    app_schema: str,
    table: str,
    part: Range,
    as_of: int,
    prefix: sql.Composable,
    *,
    with_days: bool = True,
) -> sql.Composed:
    """Return the query for a part of a table's cells.

    They are as of the batch `as_of`. `prefix` is what each row begins with. Without `with_days` the frozen days of
    triggers are left out.
    """
    names: dict[str, sql.Composable] = {
        "prefix": prefix,
        "as_of": sql.Literal(as_of),
        "range": _range(part),
        **_sums(),
    }
    if part.kind != "triggers":
        names["hour_at"] = HOUR_AT
    if table in ("hour_durations", "trigger_hours"):
        horizon = connection.execute(blocks(_FILE)["horizon"]).fetchall()[0][0]
        freezes = connection.execute(blocks(_FILE)["has_frozen"]).fetchone() == (True,)
        at = sql.SQL("timestamptz {}").format(sql.Literal(str(horizon)))
        with_horizon = {"horizon": at} if table == "hour_durations" else {}
        frozen = freezes and (with_days or table != "trigger_hours")
        names["frozen"] = block(f"frozen_{table}", **with_horizon) if frozen else _EMPTY
        if table == "trigger_hours":
            names |= {
                "horizon": at,
                "app": sql.Identifier(app_schema),
                "columns": incremental("capture", "columns", row=sql.SQL("a.")),
                "rows_range": _rows_range(part),
            }
    return block(table, **names)


def days(part: Range, as_of: int) -> sql.Composed:
    """Return the query for frozen days, as of a batch."""
    within = compose("m.day_at >= {low}", low=sql.Literal(part.from_hour_at))
    if part.until_hour_at is not None:
        within = compose("{low} and m.day_at < {high}", low=within, high=sql.Literal(part.until_hour_at))
    return block("trigger_days", as_of=sql.Literal(as_of), range=within, **_sums())


def snapshot(table: str, database: str, app_schema: str, batch: int) -> sql.Composed:
    """Return the query for a table that is sent as a whole."""
    times = {name: block("time", time=sql.SQL(column)) for name, column in _TIMES.get(table, {}).items()}
    app = sql.Identifier(app_schema)
    return block(table, app=app, database=sql.Literal(database), batch=sql.Literal(batch), **times)


def write(connection: BoundedConnection, query: sql.Composed, body: IO[bytes]) -> int:
    """Write the rows of `query` as lines; return how many."""
    # a connection that was lost may have left half of it
    body.seek(0)
    body.truncate()
    return connection.copy_out(block("copy", query=query), body)


def _sums() -> dict[str, sql.Composable]:
    return {name: block(name) for name in ("taken_off", "sums")}


def _range(part: Range) -> sql.Composed:
    if part.kind == "triggers":
        # by the part's place: a client's text may not be the bytes that a database without an encoding holds
        place = sql.Literal(part.place)
        low = block("from_trigger", place=place) if part.from_trigger else sql.SQL("true")
        if part.until_trigger is None:
            return compose("{low}", low=low)
        return compose("{low} and {high}", low=low, high=block("until_trigger", place=place))
    low = compose("{at} >= {low}", at=HOUR_AT, low=sql.Literal(part.from_hour_at))
    if part.until_hour_at is None:
        return low
    return compose("{low} and {at} < {high}", low=low, at=HOUR_AT, high=sql.Literal(part.until_hour_at))


def _rows_range(part: Range) -> sql.Composed:
    """Return the condition on rows `a`, in words that an index on the time understands."""
    conditions = []
    start, end = part.from_hour_at or 0, part.until_hour_at
    if start > NO_HOUR:
        conditions.append(compose("a.executed_at >= {at}", at=_time(start)))
    if end is not None:
        conditions.append(compose("a.executed_at < {at}", at=_time(end)))
    held = sql.SQL(" and ").join(conditions) if conditions else sql.SQL("true")
    return compose(
        "({held}{timeless})", held=held, timeless=sql.SQL(" or a.executed_at is null" if start == NO_HOUR else "")
    )


def _time(hour_at: int) -> sql.Composable:
    if hour_at == _MINUS_INFINITY:
        return sql.SQL("timestamptz '-infinity'")
    return (
        sql.SQL("timestamptz 'infinity'")
        if hour_at == _INFINITY
        else compose("to_timestamp({at})", at=sql.Literal(hour_at))
    )
