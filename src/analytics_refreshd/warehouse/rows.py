"""Loads closed months of action rows, each as a whole."""

from dataclasses import dataclass, field
from uuid import uuid4

from analytics_refreshd.core.warehouse import OutboxState, Range
from analytics_refreshd.core.warehouse_rows import Month, Progress, RowSource, RowStore, next_month, surplus
from analytics_refreshd.warehouse.exporting import body


@dataclass
class _Load:
    """A month that is being loaded: as of the batch that was acknowledged when it began."""

    epoch: int
    batch: int
    month: Month
    left: list[Range]
    name: str = field(default_factory=lambda: str(uuid4()))
    rows: int = 0


class MonthLoader:
    """`core.warehouse_rows.RowLoader`.

    The rows of a month are read in parts, each in a transaction of its own, and batches are sent between them. So a
    month counts only if nothing of it changed since it was begun; else it is begun again with the next run.
    """

    def __init__(self, source: RowSource | None, store: RowStore) -> None:
        """Without a `source` no month is wanted: those that are there are taken away."""
        self._source = source
        self._store = store
        self._load: _Load | None = None
        self._empty: set[int] = set()

    def step(self, outbox: OutboxState) -> Progress:
        """As `core.warehouse_rows.RowLoader.step`."""
        load, self._load = self._load, None
        if load is None or load.epoch != outbox.epoch:
            return Progress(more=self._begin(outbox))
        assert self._source is not None  # noqa: S101 - a load has begun
        if load.left:
            self._add(self._source, load)
            self._load = load
            return Progress(more=True)
        return self._finish(self._source, load)

    def _begin(self, outbox: OutboxState) -> bool:
        wanted = self._source.months() if self._source is not None else []
        held = self._store.held()
        for surplus_month in surplus(wanted, held):
            self._store.drop(surplus_month)
        if self._source is None or not wanted:
            return False
        batch = outbox.acknowledged_batch
        # one that was taken away since is not there any more
        there = self._empty.union(held)
        loaded = [each for each in self._store.loaded(outbox.epoch) if each.month in there]
        moves = self._store.moves(outbox.epoch, min((month.batch for month in loaded), default=batch))
        month = next_month(wanted, loaded, moves, batch)
        if month is None:
            behind = [each.month for each in loaded if each.batch < batch]
            if behind:
                self._store.note(outbox.epoch, behind, batch)
            return False
        self._store.begin(month.month)
        self._load = _Load(outbox.epoch, batch, month, self._source.parts(month))
        return True

    def _add(self, source: RowSource, load: _Load) -> None:
        part = load.left.pop(0)
        with body() as lines:
            rows = source.write(load.month, part, lines)
            if rows:
                self._store.add(f"{load.name}-{part.place}", lines)
                load.rows += rows

    def _finish(self, source: RowSource, load: _Load) -> Progress:
        # first what the warehouse was not told yet: told meanwhile, it is found there
        moved = source.moved(load.month, load.batch) or (
            self._store.moves(load.epoch, load.batch).last_batch.get(load.month.month, 0) > load.batch
        )
        if moved or not self._store.exchange(load.month.month, load.rows):
            return Progress(more=False)
        self._empty.discard(load.month.month)
        if not load.rows:
            self._empty.add(load.month.month)
        self._store.note(load.epoch, [load.month.month], load.batch)
        return Progress(more=True, month=load.month.month)
