"""The warehouse of one database: where batches land, cells are exported to, and small tables are exchanged."""

import re
from typing import IO
from uuid import UUID

from analytics_refreshd.core.warehouse import (
    CELLS,
    LANDING,
    SNAPSHOTS,
    Batch,
    OutboxState,
    Position,
    WarehouseFault,
)
from analytics_refreshd.warehouse.client import Client, natural
from analytics_refreshd.warehouse.cluster import all_shards
from analytics_refreshd.warehouse.quoting import identifier, literal, partition

_BY_EPOCH = (*CELLS, "deltas", "batches", "action_results_months")
_NUMBER = re.compile(r",\s*(\d{1,10})\)\Z")
_MOST_EPOCHS = 1_000_000_000
"""More have never begun: PostgreSQL counts them in an integer, and what a warehouse says may be wrong."""


class ClickHouseWarehouse:
    """`core.warehouse.Warehouse` over a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._name = client.settings.name
        self._target = identifier(client.settings.database)
        self._replicated: bool | None = None

    def position(self) -> Position | None:
        """As `core.warehouse.Warehouse.position`."""
        self._catch_up()
        epochs = self._client.select(
            f"select epoch, epoch_id, base_batch from {self._target}.epochs where database = {{database:String}} "  # noqa: S608
            "order by epoch desc, completed_at desc limit 1",
            _epoch,
            UUID,
            natural,
            database=self._name,
        )
        if not epochs:
            self._refuse_other_shard()
            return None
        epoch, epoch_id, base = epochs[0]
        batches = self._client.select(
            f"select batch, batch_id from {self._target}.batches "  # noqa: S608
            "where database = {database:String} and epoch = {epoch:UInt32} order by batch desc limit 1",
            natural,
            UUID,
            database=self._name,
            epoch=epoch,
        )
        return Position(epoch, epoch_id, *(batches[0] if batches else (base, None)))

    def _catch_up(self) -> None:
        """Let a replica take over what the others have: what it lacks would pass for lost."""
        if self._replicated is None:
            found = self._client.select(
                "select engine from system.tables where database = {target:String} and name = 'batches'",
                str,
                target=self._client.settings.database,
            )
            if not found:
                return
            self._replicated = found[0][0].startswith("Replicated")
        if self._replicated:
            try:
                for table in ("epochs", "batches"):
                    self._client.execute(f"system sync replica {self._target}.{table}")
            except WarehouseFault as fault:
                raise WarehouseFault(
                    f"{fault}; this replica was waited for until it has what the others have: look at"
                    " system.replication_queue there"
                ) from None

    def _refuse_other_shard(self) -> None:
        """Refuse to export to a second shard: the figures would count twice over all of them."""
        if self._client.settings.cluster is None:
            return
        whole = identifier(all_shards(self._client.settings.database))
        (found,) = self._client.one(
            f"select count() from {whole}.epochs where database = {{database:String}}",  # noqa: S608
            natural,
            database=self._name,
        )
        if found:
            raise WarehouseFault(
                "another shard of the cluster holds the figures of this database: let [warehouse] url lead there, or"
                " drop its partitions there first"
            )

    def export(self, table: str, epoch: int, token: str, body: IO[bytes]) -> None:
        """As `core.warehouse.Warehouse.export`."""
        del epoch  # each row has it
        self._client.insert(f"{self._target}.{table}", ("database", "epoch", *CELLS[table]), body, token)

    def has_cells(self, epoch: int) -> bool:
        """As `core.warehouse.Warehouse.has_cells`."""
        found = self._client.select(
            f"select 1 from {self._target}.hour_totals "  # noqa: S608
            "where database = {database:String} and epoch = {epoch:UInt32} limit 1",
            database=self._name,
            epoch=epoch,
        )
        return bool(found)

    def complete(self, outbox: OutboxState) -> None:
        """As `core.warehouse.Warehouse.complete`."""
        self._client.execute(
            f"insert into {self._target}.epochs (database, epoch, epoch_id, base_batch, folded_at) "
            "select {database:String}, {epoch:UInt32}, {epoch_id:UUID}, {base:UInt64}, "
            "{folded_at:DateTime64(6, 'UTC')}",
            database=self._name,
            epoch=outbox.epoch,
            epoch_id=outbox.epoch_id,
            base=outbox.base_batch,
            folded_at=f"{outbox.base_folded_at or outbox.epoch_at:%Y-%m-%d %H:%M:%S.%f}",
        )
        self._drop_older(outbox.epoch)

    def _drop_older(self, epoch: int) -> None:
        found = self._client.select(
            "select distinct table, partition from system.parts where database = {target:String} and active",
            str,
            str,
            target=self._client.settings.database,
        )
        for table, text in found:
            number = _NUMBER.search(text)
            # one of this database, as it writes itself
            if (
                table in _BY_EPOCH
                and number
                and int(number[1]) < epoch
                and text == partition(self._name, int(number[1]))
            ):
                self._client.execute(f"alter table {self._target}.{table} drop partition {text}")

    def land(self, epoch: int, batch: Batch, body: IO[bytes]) -> None:
        """As `core.warehouse.Warehouse.land`."""
        token = f"{epoch}-{batch.batch}-{batch.batch_id}"
        self._client.insert(f"{self._target}.deltas", ("database", "epoch", *LANDING), body, token)

    def rows_of(self, epoch: int, batch: Batch) -> int:
        """As `core.warehouse.Warehouse.rows_of`."""
        (found,) = self._client.one(
            f"select sum(rows) from {self._target}.batches "  # noqa: S608
            "where database = {database:String} and epoch = {epoch:UInt32} and batch = {batch:UInt64} "
            "and batch_id = {batch_id:UUID}",
            natural,
            database=self._name,
            epoch=epoch,
            batch=batch.batch,
            batch_id=batch.batch_id,
        )
        return int(found)

    def replace(self, table: str, body: IO[bytes]) -> None:
        """As `core.warehouse.Warehouse.replace`."""
        incoming, whole = f"{self._target}.{table}_incoming", literal(self._name)
        if not body.tell():
            # the server refuses to replace by nothing
            self._client.execute(f"alter table {self._target}.{table} drop partition {whole}")
            return
        self._client.execute(f"alter table {incoming} drop partition {whole}")
        self._client.insert(incoming, ("database", *SNAPSHOTS[table]), body)
        # what stays there goes before the next one; until then both share their files
        self._client.execute(f"alter table {self._target}.{table} replace partition {whole} from {incoming}")


def _epoch(text: str) -> int:
    epoch = natural(text)
    if epoch > _MOST_EPOCHS:
        raise ValueError
    return epoch
