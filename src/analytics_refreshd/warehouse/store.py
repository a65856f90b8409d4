"""The warehouse of one database: where batches land, cells are exported to, and small tables are exchanged."""

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
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.cluster import all_shards
from analytics_refreshd.warehouse.quoting import identifier, literal

_BY_EPOCH = (*CELLS, "deltas", "batches", "action_results_months")


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
            database=self._name,
        )
        if not epochs:
            self._refuse_other_shard()
            return None
        epoch, epoch_id, base = int(epochs[0][0]), UUID(epochs[0][1]), int(epochs[0][2])
        batches = self._client.select(
            f"select batch, batch_id from {self._target}.batches "  # noqa: S608
            "where database = {database:String} and epoch = {epoch:UInt32} order by batch desc limit 1",
            database=self._name,
            epoch=epoch,
        )
        if not batches:
            return Position(epoch, epoch_id, base, None)
        return Position(epoch, epoch_id, int(batches[0][0]), UUID(batches[0][1]))

    def _catch_up(self) -> None:
        """Let a replica take over what the others have: what it lacks would pass for lost."""
        if self._replicated is None:
            found = self._client.select(
                "select engine from system.tables where database = {target:String} and name = 'batches'",
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
        found = self._client.select(
            f"select count() from {whole}.epochs where database = {{database:String}}",  # noqa: S608
            database=self._name,
        )
        if found[0][0] != "0":
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
            target=self._client.settings.database,
        )
        for table, partition in found:
            if table in _BY_EPOCH and self._older(partition, epoch):
                self._client.execute(f"alter table {self._target}.{table} drop partition {partition}")

    def _older(self, partition: str, epoch: int) -> bool:
        """Whether a partition, a tuple as ClickHouse writes it, is of this database and an epoch before."""
        found = self._client.select(
            "select {database:String} = tupleElement(t, 1) and tupleElement(t, 2) < {epoch:UInt32} "  # noqa: S608
            f"from (select {partition} as t)",
            database=self._name,
            epoch=epoch,
        )
        return found[0][0] == "1"

    def land(self, epoch: int, batch: Batch, body: IO[bytes]) -> None:
        """As `core.warehouse.Warehouse.land`."""
        token = f"{epoch}-{batch.batch}-{batch.batch_id}"
        self._client.insert(f"{self._target}.deltas", ("database", "epoch", *LANDING), body, token)

    def rows_of(self, epoch: int, batch: Batch) -> int:
        """As `core.warehouse.Warehouse.rows_of`."""
        found = self._client.select(
            f"select sum(rows) from {self._target}.batches "  # noqa: S608
            "where database = {database:String} and epoch = {epoch:UInt32} and batch = {batch:UInt64} "
            "and batch_id = {batch_id:UUID}",
            database=self._name,
            epoch=epoch,
            batch=batch.batch,
            batch_id=batch.batch_id,
        )
        return int(found[0][0])

    def replace(self, table: str, body: IO[bytes]) -> None:
        """As `core.warehouse.Warehouse.replace`."""
        incoming, partition = f"{self._target}.{table}_incoming", literal(self._name)
        if not body.tell():
            # the server refuses to replace by nothing
            self._client.execute(f"alter table {self._target}.{table} drop partition {partition}")
            return
        self._client.execute(f"alter table {incoming} drop partition {partition}")
        self._client.insert(incoming, ("database", *SNAPSHOTS[table]), body)
        self._client.execute(f"alter table {self._target}.{table} replace partition {partition} from {incoming}")
        self._client.execute(f"alter table {incoming} drop partition {partition}")
