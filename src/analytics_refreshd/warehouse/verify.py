"""Compares every cell of the warehouse with the rollups, both ways."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analytics_refreshd.core.warehouse import CELLS, KINDS, SUMMED, Range, WarehouseFault
from analytics_refreshd.core.warehouse_ranges import DAYS, FrozenDays, OutboxSnapshot
from analytics_refreshd.core.warehouse_rows import HOURS
from analytics_refreshd.warehouse.client import Client, unescaped
from analytics_refreshd.warehouse.months import ClickHouseMonths
from analytics_refreshd.warehouse.refusals import not_understood
from analytics_refreshd.warehouse.store import ClickHouseWarehouse
from analytics_refreshd.warehouse.tables import identifier, statements

_FIRST = 5
_DAY_SECONDS = 86_400.0
_FROZEN = "trigger_hours, frozen days"
_DAY_AT = "if(c.hour_at = -9223372036854775807, c.hour_at, c.hour_at - positiveModulo(c.hour_at, 86400))"


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
    """What was compared: the tables at the batch `batch` of the epoch `epoch`.

    `months_due` are those whose action rows were not compared: the daemon loads them first.
    """

    epoch: int
    batch: int
    tables: tuple[TableDifference, ...]
    months_due: tuple[int, ...] = ()

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
            comparison = _Comparison(table, CELLS[table])
            for part in (part for part in parts if part.kind == kind):
                comparison.add(rollups.cells(table, part), reading.cells(part))
            found.append(comparison.result())
    frozen = rollups.frozen()
    if frozen is not None:
        reading = Reading(client, "trigger_hours", outbox.epoch, outbox.acknowledged_batch)
        comparison = _Comparison(_FROZEN, DAYS)
        for part in frozen.parts:
            comparison.add(rollups.days(part), reading.days(frozen, part))
        found.append(comparison.result())
    due: tuple[int, ...] = ()
    if client.settings.rows:
        rows, due = _months(rollups, client)
        found.append(rows)
    return WarehouseReport(outbox.epoch, outbox.acknowledged_batch, tuple(found), due)


def _months(rollups: OutboxSnapshot, client: Client) -> tuple[TableDifference, tuple[int, ...]]:
    """Compare the action rows of closed months; also return the months that are to be loaded before."""
    epoch, as_of, store = rollups.state.epoch, rollups.state.acknowledged_batch, ClickHouseMonths(client)
    whole, due = _Comparison("action_results", HOURS), []

    def comparable(month: int) -> bool:
        loaded = next((each for each in store.loaded(epoch) if each.month == month), None)
        return loaded is not None and store.moves(epoch, min(loaded.batch, as_of)).comparable(loaded, as_of)

    for month in rollups.months(client.settings.rows_keep_days * _DAY_SECONDS):
        comparison = _Comparison("action_results", HOURS)
        if comparable(month.month):
            for part in rollups.month_parts(month):
                comparison.add(rollups.month_hours(part), store.hours(month, part))
        # one that moved meanwhile may have been loaded again by now
        if comparable(month.month):
            whole.join(comparison)
        else:
            due.append(month.month)
    return whole.result(), tuple(due)


class Reading:
    """The cells of a table of the warehouse, as of a batch."""

    def __init__(self, client: Client, table: str, epoch: int, batch: int) -> None:
        self._client = client
        self._table = table
        target = identifier(client.settings.database)
        self._columns = CELLS[table]
        later = (
            f"(select * replace (-n as n) from {target}.deltas where database = {{database:String}} "  # noqa: S608
            "and epoch = {epoch:UInt32} and batch > {batch:UInt64})"
        )
        added = statements()[f"{table}_from_deltas"].partition(" as\n")[2].replace("{target}.deltas", later)
        self._rows = (
            f"(select database, epoch, {', '.join(self._columns)} from {target}.{table} "  # noqa: S608 - names of ours
            f"where database = {{database:String}} and epoch = {{epoch:UInt32}} union all {added}) as c"
        )
        self._parameters: dict[str, object] = {"database": client.settings.name, "epoch": epoch, "batch": batch}

    def cells(self, part: Range) -> bytes:
        """Return the cells of a part, a line each."""
        keys = [f"c.{name}" for name in self._columns if name not in SUMMED]
        # days that were frozen are compared apart: an epoch of before knows them by the hour
        those = "c.frozen = 0" if "frozen" in self._columns else "true"
        if part.kind == "triggers":
            return self._sums(keys, those, "c.trigger_id", "String", part.from_trigger or "", part.until_trigger)
        return self._sums(keys, those, "c.hour_at", "Int64", part.from_hour_at, part.until_hour_at)

    def days(self, frozen: FrozenDays, part: Range) -> bytes:
        """Return the frozen days of a part, a line each.

        They are here by the day or by the hour: as the epoch found them when it was exported.
        """
        keys = [_DAY_AT, "c.trigger_id", "c.action_type", "c.status"]
        those = "(c.frozen = 1 or c.hour_at >= {since:Int64} and c.hour_at < {until:Int64})"
        span: dict[str, object] = {"since": frozen.since_hour_at, "until": frozen.until_hour_at}
        return self._sums(keys, those, _DAY_AT, "Int64", part.from_hour_at, part.until_hour_at, **span)

    def _sums(
        self, keys: Sequence[str], those: str, column: str, kind: str, low: object, high: object, **more: object
    ) -> bytes:
        sums = [f"sum(c.{name})" for name in self._columns if name in SUMMED]
        bounds = {"low": low} if high is None else {"low": low, "high": high}
        within = f"{column} >= {{low:{kind}}}" + (f" and {column} < {{high:{kind}}}" if high is not None else "")
        query = (
            f"select {', '.join([*keys, *sums])} from {self._rows} where {those} and {within} "  # noqa: S608
            f"group by {', '.join(keys)} having {' or '.join(f'{name} <> 0' for name in sums)}"
        )
        return self._client.read(query, **self._parameters, **bounds, **more)


class _Comparison:
    """Adds up how one table differs."""

    def __init__(self, table: str, columns: tuple[str, ...]) -> None:
        self._table = table
        self._columns = columns
        self._cells = 0
        self._found = {"missing": 0, "extra": 0}
        self._first: list[tuple[str, dict[str, str | None]]] = []

    def add(self, rollups: bytes, warehouse: bytes) -> None:
        """Compare the cells of a part."""
        ours, theirs = set(_lines(rollups)), set(_lines(warehouse))
        self._cells += len(ours)
        for side, lines in (("missing", ours - theirs), ("extra", theirs - ours)):
            room = _FIRST - min(_FIRST, self._found[side])
            self._found[side] += len(lines)
            for line in sorted(lines)[:room]:
                values = _values(line)
                if len(values) != len(self._columns):
                    raise not_understood()
                self._first.append((side, dict(zip(self._columns, values, strict=True))))

    def join(self, other: "_Comparison") -> None:
        """Add what another one found."""
        self._cells += other._cells
        for side, number in other._found.items():
            self._found[side] += number
        self._first = [*self._first, *other._first][: 2 * _FIRST]

    def result(self) -> TableDifference:
        """Return what was found."""
        return TableDifference(
            self._table, self._cells, self._found["missing"], self._found["extra"], tuple(self._first)
        )


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
