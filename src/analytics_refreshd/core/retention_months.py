"""Decides which whole partitions a retention run takes and drops."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID


class Kept(StrEnum):
    """What became of a partition that a run took."""

    DETACHED = "detached"
    RETURNED = "returned"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class OldPartition:
    """A partition of action_results by time. `since` is None without such a bound; `rows` is the planner's estimate."""

    schema: str
    name: str
    since: datetime | None
    until: datetime
    rows: int

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Record:
    """A partition that a run took, by the number of its row. `present` is whether that very table is there."""

    partition: OldPartition
    month_id: int
    state: Kept
    changed_at: datetime
    present: bool


_MARK = "Detached by `analytics-refreshd retain`, run "


def marked(comment: str | None, run_id: UUID) -> str:
    """Return a table's comment with a line that names the run.

    By it the table is found again, also after a dump and restore.
    """
    return "\n".join(filter(None, (unmarked(comment), f"{_MARK}{run_id}.")))


def unmarked(comment: str | None) -> str | None:
    """Return a table's comment without that line.

    None where nothing else is in it.
    """
    lines = [line for line in (comment or "").split("\n") if not line.startswith(_MARK)]
    return "\n".join(lines) or None


@dataclass(frozen=True, slots=True)
class Months:
    """Whole partitions older than a bound. `now` is the server's.

    `owner` owns action_results; `member` is whether this role may act as that, without which nothing is taken.
    """

    now: datetime
    old: tuple[OldPartition, ...] = ()
    records: tuple[Record, ...] = ()
    owner: str = ""
    member: bool = False

    def returned(self, undo: timedelta) -> tuple[OldPartition, ...]:
        """Partitions that were put back lately: their rows stay as long as they could have been put back."""
        names = {
            str(each.partition)
            for each in self.records
            if each.state is Kept.RETURNED and each.present and each.changed_at > self.now - undo
        }
        return tuple(each for each in self.old if str(each) in names)

    def to_take(self, undo: timedelta) -> tuple[OldPartition, ...]:
        """Partitions that a run detaches now, the oldest first."""
        if not self.member:
            return ()
        stay = self.returned(undo)
        return tuple(sorted((each for each in self.old if each not in stay), key=lambda each: each.until))

    def to_drop(self, undo: timedelta) -> tuple[Record, ...]:
        """Tables whose time to be put back is over."""
        if not self.member:
            return ()
        return tuple(each for each in self._detached() if each.changed_at <= self.now - undo)

    def to_put_back(self, asked: str) -> Record | None:
        """Return the table that `asked` names.

        It is a table's name, or a month such as `2026-05`. None where there is no such table.
        """
        for each in self._detached():
            month = f"{each.partition.since:%Y-%m}" if each.partition.since else each.partition.name
            if asked.strip() in (month, each.partition.name, str(each.partition)):
                return each
        return None

    def waiting(self) -> tuple[str, ...]:
        """Names of the tables that can be put back."""
        return tuple(str(each.partition) for each in self._detached())

    def _detached(self) -> Iterable[Record]:
        return (each for each in self.records if each.state is Kept.DETACHED and each.present)
