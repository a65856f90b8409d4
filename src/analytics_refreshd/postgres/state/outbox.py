"""Reads the outbox, and notes what the warehouse has."""

from typing import IO

from psycopg import sql
from psycopg.rows import class_row, dict_row

from analytics_refreshd.core.warehouse import Batch, OutboxState, Range
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import refuse_untrusted
from analytics_refreshd.postgres.schema.definitions import compose
from analytics_refreshd.postgres.state import outbox_cells as cells

_FILE = "state/outbox.sql"
_READ_SECONDS = 600.0
"""A part of an export reads up to some hundred thousand rows, on a server that has other work."""


class PostgresOutbox:
    """`core.warehouse.Outbox` on a session of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._statements = blocks(_FILE)

    def state(self) -> OutboxState | None:
        """As `core.warehouse.Outbox.state`."""
        return self._session.run(lambda connection: read_state(connection, self._session.app_schema))

    def claim(self) -> bool:
        """As `core.warehouse.Outbox.claim`."""
        return self._said("claim", {})

    def start(self) -> bool:
        """As `core.warehouse.Outbox.start`."""
        # it waits for a fold under way, which may be a rebuild
        return self._said("start", {}, lock_seconds=60.0)

    def restart(self, reason: str, above: int) -> None:
        """As `core.warehouse.Outbox.restart`."""
        self._said("restart", {"reason": reason, "above": above}, lock_seconds=60.0)

    def ranges(self, epoch: int) -> list[Range]:
        """As `core.warehouse.Outbox.ranges`."""

        def work(connection: BoundedConnection) -> list[Range]:
            cursor = connection.cursor(row_factory=class_row(Range))
            return cursor.execute(self._statements["ranges"], {"epoch": epoch}).fetchall()

        return self._session.run(work)

    def cells(self, table: str, part: Range, outbox: OutboxState, body: IO[bytes]) -> None:
        """As `core.warehouse.Outbox.cells`."""
        prefix = self._prefix(outbox.epoch)

        def work(connection: BoundedConnection) -> None:
            schema = self._session.app_schema
            cells.write(connection, cells.query(connection, schema, table, part, outbox.base_batch, prefix), body)

        self._session.run(work, seconds=_READ_SECONDS)

    def range_sent(self, epoch: int, place: int) -> bool:
        """As `core.warehouse.Outbox.range_sent`."""
        return self._said("range_sent", {"epoch": epoch, "place": place})

    def rows(self, batch: Batch, epoch: int, body: IO[bytes]) -> None:
        """As `core.warehouse.Outbox.rows`."""
        query = cells.block("rows", prefix=self._prefix(epoch), hour_at=cells.HOUR_AT, batch=sql.Literal(batch.batch))
        self._session.run(lambda connection: cells.write(connection, query, body), seconds=_READ_SECONDS)

    def acknowledge(self, epoch: int, batch: int) -> bool:
        """As `core.warehouse.Outbox.acknowledge`."""
        return self._said("acknowledge", {"epoch": epoch, "batch": batch}, seconds=60.0)

    def snapshot(self, table: str, batch: int, body: IO[bytes]) -> None:
        """As `core.warehouse.Outbox.snapshot`."""
        query = cells.snapshot(table, self._session.name, self._session.app_schema, batch)
        self._session.run(lambda connection: cells.write(connection, query, body), seconds=_READ_SECONDS)

    def _prefix(self, epoch: int) -> sql.Composed:
        return compose("{database}, {epoch}, ", database=sql.Literal(self._session.name), epoch=sql.Literal(epoch))

    def _said(self, name: str, values: dict[str, object], *, seconds: float = 70.0, lock_seconds: float = 5.0) -> bool:
        def work(connection: BoundedConnection) -> bool:
            row = connection.execute(self._statements[name], values).fetchone()
            return bool(row and row[0])

        return self._session.run(work, seconds=seconds, lock_seconds=lock_seconds)


def read_state(connection: BoundedConnection, app_schema: str) -> OutboxState | None:
    """Read what waits; None where no outbox is installed."""
    statements = blocks(_FILE)
    if connection.execute(statements["installed"]).fetchone() != (True,):
        return None
    refuse_untrusted(connection, app_schema)
    found = connection.cursor(row_factory=dict_row).execute(statements["state"]).fetchone()
    if found is None:
        return None
    waiting = connection.cursor(row_factory=class_row(Batch)).execute(statements["waiting"]).fetchall()
    return OutboxState(**found, waiting=tuple(waiting))
