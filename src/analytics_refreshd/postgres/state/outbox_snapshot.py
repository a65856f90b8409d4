"""Reads the rollups at one moment, to compare a warehouse with them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.warehouse import OutboxState, Range
from analytics_refreshd.core.warehouse_ranges import FrozenDays, compared_ranges, frozen_days
from analytics_refreshd.core.warehouse_rows import Month
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.incremental.blocks import block as incremental
from analytics_refreshd.postgres.schema.definitions import compose
from analytics_refreshd.postgres.state import outbox_cells as cells
from analytics_refreshd.postgres.state import outbox_months as months
from analytics_refreshd.postgres.state.outbox import read_state

_FILE = "state/outbox.sql"
_ORDERED = ("UTF8", "LATIN1")
"""Encodings in which texts have the order of UTF-8, in which they are sent."""


class PostgresOutboxSnapshot:
    """`core.warehouse_ranges.OutboxSnapshot` inside a transaction."""

    def __init__(self, connection: BoundedConnection, app_schema: str, state: OutboxState) -> None:
        self._connection = connection
        self._app_schema = app_schema
        self._state = state

    @property
    def state(self) -> OutboxState:
        """As `core.warehouse_ranges.OutboxSnapshot.state`."""
        return self._state

    def ranges(self) -> list[Range]:
        """As `core.warehouse_ranges.OutboxSnapshot.ranges`."""
        encoding = self._connection.info.parameter_status("server_encoding")
        return compared_ranges(self._exported(), self._number("horizon_at"), ordered=encoding in _ORDERED)

    def frozen(self) -> FrozenDays | None:
        """As `core.warehouse_ranges.OutboxSnapshot.frozen`."""
        since, horizon = self._number("days_since"), self._number("horizon_at")
        if (
            since is None
            or horizon is None
            or self._connection.execute(blocks(_FILE)["has_frozen"]).fetchone() != (True,)
        ):
            return None
        return frozen_days(self._exported(), since, horizon)

    def cells(self, table: str, part: Range) -> bytes:
        """As `core.warehouse_ranges.OutboxSnapshot.cells`."""
        as_of = self._state.acknowledged_batch
        nothing = sql.SQL("")
        query = cells.query(self._connection, self._app_schema, table, part, as_of, nothing, with_days=False)
        return self._read(query)

    def days(self, part: Range) -> bytes:
        """As `core.warehouse_ranges.OutboxSnapshot.days`."""
        return self._read(cells.days(part, self._state.acknowledged_batch))

    def months(self, keep_seconds: float) -> list[Month]:
        """As `core.warehouse_ranges.OutboxSnapshot.months`."""
        found = self._connection.execute(blocks(months.FILE)["months"], {"keep_seconds": keep_seconds}).fetchall()
        return [Month(*row) for row in found]

    def month_parts(self, month: Month) -> list[Range]:
        """As `core.warehouse_ranges.OutboxSnapshot.month_parts`."""
        values = {**months.hours_of(month), "portion": months.PORTION}
        return [Range(*row) for row in self._connection.execute(blocks(months.FILE)["parts"], values).fetchall()]

    def month_hours(self, part: Range) -> bytes:
        """As `core.warehouse_ranges.OutboxSnapshot.month_hours`."""
        query = compose(
            blocks(months.FILE)["hours"],
            app=sql.Identifier(self._app_schema),
            columns=incremental("capture", "columns", row=sql.SQL("a.")),
            hour_at=cells.HOUR_AT,
            as_of=sql.Literal(self._state.acknowledged_batch),
            low=sql.Literal(part.from_hour_at),
            high=sql.Literal(part.until_hour_at),
        )
        return self._read(query)

    def _exported(self) -> list[Range]:
        cursor = self._connection.cursor(row_factory=class_row(Range))
        return cursor.execute(blocks(_FILE)["all_ranges"], {"epoch": self._state.epoch}).fetchall()

    def _number(self, name: str) -> int | None:
        row = self._connection.execute(blocks(_FILE)[name]).fetchone()
        return None if row is None else int(row[0])

    def _read(self, query: sql.Composed) -> bytes:
        body = io.BytesIO()
        cells.write(self._connection, query, body)
        return body.getvalue()


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
