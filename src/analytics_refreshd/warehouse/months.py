"""The months of action rows in the warehouse."""

import re
from collections.abc import Sequence
from typing import IO

from analytics_refreshd.core.warehouse import Range
from analytics_refreshd.core.warehouse_rows import ROWS, LoadedMonth, Month, Moves
from analytics_refreshd.warehouse.client import Client, natural
from analytics_refreshd.warehouse.quoting import identifier, partition

_LAST_HOUR_AT = 4_102_444_800
"""The year 2100: what is later is in no month."""
_MONTH = re.compile(r",\s*(\d{6})\)\Z")


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
            str,
            target=self._client.settings.database,
        )
        months = [(text, _MONTH.search(text)) for (text,) in found]
        return [int(month[1]) for text, month in months if month and self._partition(int(month[1])) == text]

    def drop(self, month: int) -> None:
        """As `core.warehouse_rows.RowStore.drop`."""
        self._client.execute(f"alter table {self._target}.action_results drop partition {self._partition(month)}")

    def loaded(self, epoch: int) -> list[LoadedMonth]:
        """As `core.warehouse_rows.RowStore.loaded`."""
        found = self._client.select(
            f"select month, max(batch) from {self._target}.action_results_months "  # noqa: S608
            "where database = {database:String} and epoch = {epoch:UInt32} group by month",
            natural,
            natural,
            database=self._name,
            epoch=epoch,
        )
        return [LoadedMonth(month, batch) for month, batch in found]

    def moves(self, epoch: int, batch: int) -> Moves:
        """As `core.warehouse_rows.RowStore.moves`."""
        of_epoch = "where database = {database:String} and epoch = {epoch:UInt32}"
        # in the order of its key: without reading what the landing table holds
        first = self._client.select(
            f"select batch from {self._target}.deltas {of_epoch} order by database, epoch, batch limit 1",  # noqa: S608
            natural,
            database=self._name,
            epoch=epoch,
        )
        found = self._client.select(
            f"select toYYYYMM(toDateTime(hour_at, 'UTC')) as month, max(batch) from {self._target}.deltas {of_epoch} "  # noqa: S608
            "and batch > {batch:UInt64} and hour_at >= 0 and hour_at < {last:Int64} group by month",
            natural,
            natural,
            database=self._name,
            epoch=epoch,
            batch=batch,
            last=_LAST_HOUR_AT,
        )
        return Moves(dict(found), first[0][0] if first else None)

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
        (found,) = self._client.one(
            f"select count() from {self._target}.action_results_incoming "  # noqa: S608
            "where database = {database:String} and month = {month:UInt32}",
            natural,
            database=self._name,
            month=month,
        )
        if found != rows:
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

    def hours(self, month: Month, part: Range) -> bytes:
        """Count the rows of each hour that are alike: a line of text each."""
        return self._client.read(
            "select toInt64(toUnixTimestamp(toStartOfHour(r.executed_at, 'UTC'))) as hour_at, r.trigger_id, "  # noqa: S608
            f"r.action_type, r.status, r.duration_ms, r.retry_count, count() from {self._target}.action_results as r "
            "where r.database = {database:String} and r.month = {month:UInt32} "
            "and r.executed_at >= toDateTime64({low:Int64}, 6, 'UTC') "
            "and r.executed_at < toDateTime64({high:Int64}, 6, 'UTC') "
            "group by hour_at, r.trigger_id, r.action_type, r.status, r.duration_ms, r.retry_count",
            database=self._name,
            month=month.month,
            low=part.from_hour_at,
            high=part.until_hour_at,
        )

    def _partition(self, month: int) -> str:
        return partition(self._name, month)
