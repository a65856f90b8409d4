"""Which month of action rows a warehouse loads next."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

from analytics_refreshd.core.warehouse import OutboxState, Range

ROWS = ("month", "executed_at", "trigger_id", "action_type", "status", "duration_ms", "retry_count")
"""The columns of a row there, after `database`: what questions need, and nothing that people wrote."""
HOURS = ("hour_at", "trigger_id", "action_type", "status", "duration_ms", "retry_count", "n")
"""The columns by which rows are compared: how many of an hour are alike."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of UTC whose rows are wanted there.

    `month` is as 202603; the rows are those from one hour up to another.
    """

    month: int
    from_hour_at: int
    until_hour_at: int


@dataclass(frozen=True, slots=True)
class LoadedMonth:
    """A month whose rows are in the warehouse: as they were at a batch."""

    month: int
    batch: int


@dataclass(frozen=True, slots=True)
class Moves:
    """What batches changed since.

    The last batch that changed each month, and the first batch that is still known.
    """

    last_batch: Mapping[int, int]
    first_batch: int | None

    def reach(self, loaded: LoadedMonth, acknowledged_batch: int) -> bool:
        """Whether a month's rows may differ from the cells.

        It moved, or nobody knows any more.
        """
        if loaded.batch >= acknowledged_batch:
            return False
        if self.first_batch is None or self.first_batch > loaded.batch + 1:
            return True
        return self.last_batch.get(loaded.month, 0) > loaded.batch

    def comparable(self, loaded: LoadedMonth, as_of: int) -> bool:
        """Whether a month's rows are those of the batch `as_of`.

        They are where nothing of it changed between that one and the batch that it was loaded at.
        """
        since = min(loaded.batch, as_of)
        if self.last_batch.get(loaded.month, 0) > since:
            return False
        return loaded.batch == as_of or (self.first_batch is not None and self.first_batch <= since + 1)


def next_month(
    wanted: Iterable[Month], loaded: Iterable[LoadedMonth], moves: Moves, acknowledged_batch: int
) -> Month | None:
    """Return the newest month that lacks or has moved.

    None where all is there.
    """
    held = {month.month for month in loaded if not moves.reach(month, acknowledged_batch)}
    return max((month for month in wanted if month.month not in held), key=lambda month: month.month, default=None)


def surplus(wanted: Iterable[Month], held: Iterable[int]) -> list[int]:
    """Return the months that are there and are not to be."""
    return sorted(set(held) - {month.month for month in wanted})


class RowSource(Protocol):
    """The action rows. Every method raises DatabaseFault."""

    def months(self) -> list[Month]:
        """Return the months that are to be there."""

    def parts(self, month: Month) -> list[Range]:
        """Return the ranges of hours to read one after another."""

    def write(self, month: Month, part: Range, body: IO[bytes]) -> int:
        """Write the rows of a range; return how many."""

    def moved(self, month: Month, batch: int) -> bool:
        """Whether the month has changes that were not sent.

        Those after this batch.
        """


class RowStore(Protocol):
    """Where the rows go. Every method raises WarehouseFault."""

    def held(self) -> list[int]:
        """Return the months that are there, of any epoch."""

    def drop(self, month: int) -> None:
        """Take a month away."""

    def loaded(self, epoch: int) -> list[LoadedMonth]:
        """Return the months that were loaded in an epoch."""

    def moves(self, epoch: int, batch: int) -> Moves:
        """Return what the batches after this one changed."""

    def begin(self, month: int) -> None:
        """Forget what was loaded beside the month before."""

    def add(self, token: str, body: IO[bytes]) -> None:
        """Load rows beside the month that readers see."""

    def exchange(self, month: int, rows: int) -> bool:
        """Let readers see what was loaded. False where that is another number of rows."""

    def note(self, epoch: int, months: Sequence[int], batch: int) -> None:
        """Note that these months' rows are those of a batch."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one step of loading did.

    Whether there is more to do, and the month that readers see since.
    """

    more: bool
    month: int | None = None


class RowLoader(Protocol):
    """Loads the months of rows, a step at a time."""

    def step(self, outbox: OutboxState) -> Progress:
        """Load a part of a month, or see that nothing is due. Raises DatabaseFault and WarehouseFault."""
