"""Reads the rollups at one moment, to compare a warehouse with them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.warehouse import OutboxState, Range
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.state import outbox_cells as cells
from analytics_refreshd.postgres.state.outbox import read_state

_FILE = "state/outbox.sql"


class PostgresOutboxSnapshot:
    """`core.warehouse.OutboxSnapshot` inside a transaction."""

    def __init__(self, connection: BoundedConnection, app_schema: str, state: OutboxState) -> None:
        self._connection = connection
        self._app_schema = app_schema
        self._state = state

    @property
    def state(self) -> OutboxState:
        """As `core.warehouse.OutboxSnapshot.state`."""
        return self._state

    def ranges(self) -> list[Range]:
        """As `core.warehouse.OutboxSnapshot.ranges`.

        Hours of triggers before the horizon are left out: what the warehouse knows of them by the hour is frozen here
        by the day.
        """
        cursor = self._connection.cursor(row_factory=class_row(Range))
        found = cursor.execute(blocks(_FILE)["all_ranges"], {"epoch": self._state.epoch}).fetchall()
        row = self._connection.execute(blocks(_FILE)["horizon_at"]).fetchone()
        horizon_at = row[0] if row else None
        return [part for each in found if (part := _since(each, horizon_at)) is not None]

    def cells(self, table: str, part: Range) -> bytes:
        """As `core.warehouse.OutboxSnapshot.cells`."""
        body = io.BytesIO()
        as_of = self._state.acknowledged_batch
        cells.write(
            self._connection,
            cells.query(self._connection, self._app_schema, table, part, as_of, sql.SQL("")),
            body,
        )
        return body.getvalue()


def _since(part: Range, horizon_at: int | None) -> Range | None:
    if part.kind != "trigger_hours" or horizon_at is None:
        return part
    if part.until_hour_at is not None and part.until_hour_at <= horizon_at:
        return None
    return replace(part, from_hour_at=max(part.from_hour_at or 0, horizon_at))


@contextmanager
def at_snapshot(connection: BoundedConnection, app_schema: str) -> Iterator[PostgresOutboxSnapshot]:
    """Yield the rollups at one moment. Raises MigrationError where there is no outbox, and where they were rebuilt."""
    with connection.transaction(force_rollback=True):
        connection.execute(blocks(_FILE)["snapshot"])
        state = read_state(connection, app_schema)
        if state is None:
            raise MigrationError("no outbox is installed: run `analytics-refreshd migrate --warehouse` first")
        if connection.execute(blocks(_FILE)["rebuild_due"]).fetchone() == (True,):
            raise MigrationError("the rollups need rebuilding: refresh, then verify the warehouse again")
        yield PostgresOutboxSnapshot(connection, app_schema, state)
    # a rebuild empties the rollups for every snapshot
    if connection.execute(blocks(_FILE)["epoch"]).fetchone() != (state.epoch,):
        raise MigrationError("a new epoch began meanwhile: verify the warehouse again when it is exported")
