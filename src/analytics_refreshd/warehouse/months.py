"""The months of action rows in the warehouse."""

import re
from collections.abc import Sequence
from typing import IO

from analytics_refreshd.core.warehouse_rows import ROWS, LoadedMonth, Moves
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.quoting import identifier, literal

_LAST_HOUR_AT = 4_102_444_800
"""The year 2100: what is later is in no month."""
_MONTH = re.compile(r",\s*(\d+)\)\Z")


class ClickHouseMonths:
    """`core.warehouse_rows.RowStore` over a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._name = client.settings.name
        self._target = identifier(client.settings.database)

    def held(self) -> list[int]:
        """As `core.warehouse_rows.RowStore.held`."""
        found = self._client.select(
            "select distinct partition from system.parts"
            " where database = {target:String} and table = 'action_results' and active",
            target=self._client.settings.database,
        )
        months = [(partition, _MONTH.search(partition)) for (partition,) in found]
        return [int(month[1]) for partition, month in months if month and self._partition(int(month[1])) == partition]

    def drop(self, month: int) -> None:
        """As `core.warehouse_rows.RowStore.drop`."""
        self._client.execute(f"alter table {self._target}.action_results drop partition {self._partition(month)}")

    def loaded(self, epoch: int) -> list[LoadedMonth]:
        """As `core.warehouse_rows.RowStore.loaded`."""
        found = self._client.select(
            f"select month, max(batch) from {self._target}.action_results_months "  # noqa: S608
            "where database = {database:String} and epoch = {epoch:UInt32} group by month",
            database=self._name,
            epoch=epoch,
        )
        return [LoadedMonth(int(month), int(batch)) for month, batch in found]

    def moves(self, epoch: int, batch: int) -> Moves:
        """As `core.warehouse_rows.RowStore.moves`."""
        of_epoch = "where database = {database:String} and epoch = {epoch:UInt32}"
        # in the order of its key: without reading what the landing table holds
        first = self._client.select(
            f"select batch from {self._target}.deltas {of_epoch} order by database, epoch, batch limit 1",  # noqa: S608
            database=self._name,
            epoch=epoch,
        )
        found = self._client.select(
            f"select toYYYYMM(toDateTime(hour_at, 'UTC')) as month, max(batch) from {self._target}.deltas {of_epoch} "  # noqa: S608
            "and batch > {batch:UInt64} and hour_at >= 0 and hour_at < {last:Int64} group by month",
            database=self._name,
            epoch=epoch,
            batch=batch,
            last=_LAST_HOUR_AT,
        )
        return Moves({int(month): int(last) for month, last in found}, int(first[0][0]) if first else None)

    def begin(self, month: int) -> None:
        """As `core.warehouse_rows.RowStore.begin`."""
        self._client.execute(
            f"alter table {self._target}.action_results_incoming drop partition {self._partition(month)}"
        )

    def add(self, token: str, body: IO[bytes]) -> None:
        """As `core.warehouse_rows.RowStore.add`."""
        self._client.insert(f"{self._target}.action_results_incoming", ("database", *ROWS), body, token)

    def exchange(self, month: int, rows: int) -> bool:
        """As `core.warehouse_rows.RowStore.exchange`."""
        found = self._client.select(
            f"select count() from {self._target}.action_results_incoming "  # noqa: S608
            "where database = {database:String} and month = {month:UInt32}",
            database=self._name,
            month=month,
        )
        if int(found[0][0]) != rows:
            return False
        if not rows:
            # the server refuses to replace by nothing
            self.drop(month)
            return True
        incoming = f"{self._target}.action_results_incoming"
        self._client.execute(
            f"alter table {self._target}.action_results replace partition {self._partition(month)} from {incoming}"
        )
        self.begin(month)
        return True

    def note(self, epoch: int, months: Sequence[int], batch: int) -> None:
        """As `core.warehouse_rows.RowStore.note`."""
        self._client.execute(
            f"insert into {self._target}.action_results_months (database, epoch, month, batch, loaded_at) "
            "select {database:String}, {epoch:UInt32}, arrayJoin({months:Array(UInt32)}), {batch:UInt64}, now('UTC')",
            database=self._name,
            epoch=epoch,
            months=f"[{','.join(map(str, months))}]",
            batch=batch,
        )

    def _partition(self, month: int) -> str:
        return f"({literal(self._name)},{month})"
