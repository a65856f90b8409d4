"""Compares every cell of the warehouse with the rollups, both ways."""

from collections.abc import Iterator
from dataclasses import dataclass

from analytics_refreshd.core.warehouse import (
    CELLS,
    KINDS,
    SUMMED,
    OutboxSnapshot,
    Range,
    WarehouseFault,
)
from analytics_refreshd.warehouse.client import Client, unescaped
from analytics_refreshd.warehouse.store import ClickHouseWarehouse
from analytics_refreshd.warehouse.tables import identifier, statements

_FIRST = 5


@dataclass(frozen=True, slots=True)
class TableDifference:
    """How one table differs: cells that the warehouse lacks, and cells that are too many or others.

    `first` holds the first few of both, as pairs of `missing` or `extra` and the cell.
    """

    table: str
    cells: int
    missing: int
    extra: int
    first: tuple[tuple[str, dict[str, str | None]], ...] = ()


@dataclass(frozen=True, slots=True)
class WarehouseReport:
    """What was compared: the tables at the batch `batch` of the epoch `epoch`."""

    epoch: int
    batch: int
    tables: tuple[TableDifference, ...]

    @property
    def differences(self) -> int:
        """Count the cells that differ, missing and extra ones."""
        return sum(table.missing + table.extra for table in self.tables)


def verify(rollups: OutboxSnapshot, client: Client) -> WarehouseReport:
    """Compare the cells of `rollups` with those of the warehouse.

    Raises WarehouseFault where the warehouse has no complete export of the epoch, so that there is nothing to compare.
    """
    outbox = rollups.state
    position = ClickHouseWarehouse(client).position()
    if outbox.exporting or position is None or position.epoch != outbox.epoch:
        raise WarehouseFault("an export is due or under way: verify the warehouse when the daemon has sent it")
    parts = rollups.ranges()
    found = []
    for kind, tables in KINDS.items():
        for table in tables:
            reading = Reading(client, table, outbox.epoch, outbox.acknowledged_batch)
            found.append(_compare(table, rollups, reading, [part for part in parts if part.kind == kind]))
    return WarehouseReport(outbox.epoch, outbox.acknowledged_batch, tuple(found))


class Reading:
    """The cells of a table of the warehouse, as of a batch."""

    def __init__(self, client: Client, table: str, epoch: int, batch: int) -> None:
        self._client = client
        self._table = table
        target = identifier(client.settings.database)
        columns = CELLS[table]
        keys = [name for name in columns if name not in SUMMED]
        sums = [f"sum(c.{name})" for name in columns if name in SUMMED]
        later = (
            f"(select * replace (-n as n) from {target}.deltas where database = {{database:String}} "  # noqa: S608
            "and epoch = {epoch:UInt32} and batch > {batch:UInt64})"
        )
        added = statements()[f"{table}_from_deltas"].partition(" as\n")[2].replace("{target}.deltas", later)
        self._query = (
            f"select {', '.join([*(f'c.{name}' for name in keys), *sums])} from ("  # noqa: S608 - names of ours
            f"select database, epoch, {', '.join(columns)} from {target}.{table} "
            f"where database = {{database:String}} and epoch = {{epoch:UInt32}} union all {added}) as c "
            f"where {{range}} group by {', '.join(f'c.{name}' for name in keys)} "
            f"having {' or '.join(f'{name} <> 0' for name in sums)}"
        )
        self._parameters: dict[str, object] = {"database": client.settings.name, "epoch": epoch, "batch": batch}

    def cells(self, part: Range) -> bytes:
        """Return the cells of a part, a line each."""
        column, kind, low, high = (
            ("trigger_id", "String", part.from_trigger or "", part.until_trigger)
            if part.kind == "triggers"
            else ("hour_at", "Int64", part.from_hour_at, part.until_hour_at)
        )
        within = f"c.{column} >= {{low:{kind}}}" + (f" and c.{column} < {{high:{kind}}}" if high is not None else "")
        bounds: dict[str, object] = {"low": low}
        if high is not None:
            bounds["high"] = high
        return self._client.read(self._query.replace("{range}", within), **self._parameters, **bounds)


def _compare(table: str, rollups: OutboxSnapshot, reading: Reading, parts: list[Range]) -> TableDifference:
    cells = missing = extra = 0
    first: list[tuple[str, dict[str, str | None]]] = []
    for part in parts:
        ours = set(_lines(rollups.cells(table, part)))
        theirs = set(_lines(reading.cells(part)))
        cells += len(ours)
        for side, lines in (("missing", ours - theirs), ("extra", theirs - ours)):
            missing += len(lines) if side == "missing" else 0
            extra += len(lines) if side == "extra" else 0
            for line in sorted(lines)[: _FIRST - len([kind for kind, _ in first if kind == side])]:
                first.append((side, dict(zip(CELLS[table], _values(line), strict=True))))
    return TableDifference(table, cells, missing, extra, tuple(first))


def _lines(text: bytes) -> Iterator[bytes]:
    """Yield the lines in one form: the two servers escape other characters."""
    for line in text.split(b"\n"):
        if b"\\" in line:
            yield b"\t".join(value if value == b"\\N" else _plain(value) for value in line.split(b"\t"))
        elif line:
            yield line


def _plain(value: bytes) -> bytes:
    text = unescaped(value.decode("utf-8", "surrogateescape"))
    return (
        repr(text).encode() if "\\" in text or "\t" in text or "\n" in text else text.encode("utf-8", "surrogateescape")
    )


def _values(line: bytes) -> list[str | None]:
    return [None if value == b"\\N" else value.decode(errors="replace") for value in line.split(b"\t")]
