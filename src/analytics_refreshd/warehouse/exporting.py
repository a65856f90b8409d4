"""Sends an export of the rollups, part by part."""

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import IO, cast

from analytics_refreshd.core.warehouse import KINDS, Outbox, OutboxState, Range, Warehouse

_IN_MEMORY_BYTES = 16 << 20


def body() -> IO[bytes]:
    """Open what holds lines between the two sides: memory, or a file for many."""
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))


class Export:
    """Sends the cells of an epoch.

    What comes next is read from PostgreSQL while what was read is sent. One thread talks to PostgreSQL, so that parts
    are noted on the connection that reads them.
    """

    def __init__(self, outbox: Outbox, warehouse: Warehouse, state: OutboxState) -> None:
        self._outbox = outbox
        self._warehouse = warehouse
        self._state = state

    def send(self, ranges: Sequence[Range], begin: Callable[[int], bool]) -> int:
        """Send parts, and return how many were. `begin` is asked before each, with its place in the order.

        No more are sent where `begin` says False, or where the epoch is over. Raises DatabaseFault and WarehouseFault.
        """
        with ThreadPoolExecutor(1, "export") as postgres:
            wanted = [(part, table) for part in ranges for table in KINDS[part.kind]]
            with closing(self._read(postgres, wanted)) as read:
                for number, part in enumerate(ranges):
                    if not begin(number):
                        return number
                    self._insert(part, read)
                    # a rebuild empties the rollups for every snapshot, and begins an epoch where it does
                    if not postgres.submit(self._outbox.range_sent, self._state.epoch, part.place).result():
                        return number
        return len(ranges)

    def _insert(self, part: Range, read: Iterator[IO[bytes]]) -> None:
        for table in KINDS[part.kind]:
            cells = next(read)
            if cells.tell():
                token = f"{self._state.epoch_id}-{part.place}-{table}"
                self._warehouse.export(table, self._state.epoch, token, cells)

    def _read(
        self, postgres: ThreadPoolExecutor, wanted: Sequence[tuple[Range, str]]
    ) -> Generator[IO[bytes], None, None]:
        """Yield the cells of each part and table. The next ones are read meanwhile."""
        ahead: Future[IO[bytes]] | None = None
        try:
            for place in range(len(wanted) + 1):
                before = ahead
                ahead = postgres.submit(self._cells, *wanted[place]) if place < len(wanted) else None
                if before is not None:
                    with before.result() as cells:
                        yield cells
        finally:
            if ahead is not None and not ahead.cancel() and ahead.exception() is None:
                ahead.result().close()

    def _cells(self, part: Range, table: str) -> IO[bytes]:
        cells = body()
        try:
            self._outbox.cells(table, part, self._state, cells)
        except BaseException:
            cells.close()
            raise
        return cells
