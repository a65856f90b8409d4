"""Decides which months of a partitioned action log are made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

AHEAD = 2
"""Months that are made before they begin."""
LOCK_MS = 50
"""For so long a step waits for a lock, and everybody behind it."""
_SOON = timedelta(hours=1)
"""Beside a DEFAULT, rows of a month are refused while it is made: none that begins so soon is made."""
_ROWS_PER_SECOND = 10_000_000


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month in UTC, from `start` on and before `end`."""

    start: datetime

    @classmethod
    def of(cls, at: datetime) -> "Month":
        """Return the month in which `at` lies."""
        return cls(at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0))

    @classmethod
    def parse(cls, text: str) -> "Month | None":
        """Read `2026-12`; None if it is no month."""
        try:
            return cls(datetime.strptime(text.strip(), "%Y-%m").replace(tzinfo=UTC))
        except ValueError:
            return None

    @property
    def end(self) -> datetime:
        """The first moment of the next month."""
        return self.next.start

    @property
    def next(self) -> "Month":
        """The month after this one."""
        return Month.of(self.start + timedelta(days=32))

    def __str__(self) -> str:
        return f"{self.start:%Y-%m}"

    @property
    def table(self) -> str:
        """The name of its partition."""
        return f"action_results_{self.start:%Y_%m}"

    @property
    def check(self) -> str:
        """The name of the CHECK that keeps it out of the DEFAULT."""
        return f"analytics_refresh_{self.start:%Y_%m}"


class Kind(StrEnum):
    """Kinds of objects that hang on a table."""

    READS = "reads"
    REFERENCES = "references"
    TRIGGER = "trigger"
    RULE = "rule"
    PUBLICATION = "publication"
    PUBLICATION_OF_ALL = "publication_of_all"
    SUBSCRIPTION = "subscription"
    CONFLICT = "conflict"
    UNVALIDATED = "unvalidated"
    NO_INHERIT = "no_inherit"
    IDENTITY = "identity"
    INHERITANCE = "inheritance"
    TYPED = "typed"
    UNLOGGED = "unlogged"
    TAKEN = "taken"
    CREATE = "create"
    KEY = "key"
    STATISTICS = "statistics"


@dataclass(frozen=True, slots=True)
class Hanging:
    """One object that hangs on the table, described as PostgreSQL does."""

    kind: Kind
    described: str


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of action_results.

    `since` and `until` are its bounds, None where it has none; `default` has neither. `rows` is the planner's estimate.
    """

    schema: str
    name: str
    default: bool
    since: datetime | None
    until: datetime | None
    rows: int = 0

    def overlaps(self, month: Month) -> bool:
        """Whether rows of the month may lie here by its bounds."""
        if self.default:
            return False
        return (self.since is None or self.since < month.end) and (self.until is None or self.until > month.start)


@dataclass(frozen=True, slots=True)
class Layout:
    """How action_results is laid out, by the server's catalogs and clock.

    `key` is how it is partitioned, None where it is not. `hanging` is of the table that holds the rows. `stale_views`
    are those of the four that read a partition, or what is to become one. `held` are the months of which the DEFAULT
    holds rows, `taken` those whose names other tables have. `leftovers` are CHECKs of an earlier run. `partman` is the
    version of pg_partman and its schema.
    """

    now: datetime
    schema: str
    owner: str
    key: str | None
    time_type: str | None
    rows: int
    partitions: tuple[Partition, ...] = ()
    hanging: tuple[Hanging, ...] = ()
    stale_views: tuple[str, ...] = ()
    held: tuple[Month, ...] = ()
    taken: tuple[Month, ...] = ()
    leftovers: tuple[str, ...] = ()
    partman: str | None = None

    @property
    def default(self) -> Partition | None:
        """The DEFAULT partition."""
        return next((one for one in self.partitions if one.default), None)


class Choice(StrEnum):
    """What becomes of a month."""

    MAKE = "make"
    COVERED = "covered"
    BEGUN = "begun"
    HELD = "held"
    OVERLAPS = "overlaps"
    TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a month, and why, for a person."""

    month: Month
    choice: Choice
    why: str


def wanted(now: datetime) -> tuple[Month, ...]:
    """Return this month and those that are made ahead."""
    months = [Month.of(now)]
    while len(months) <= AHEAD:
        months.append(months[-1].next)
    return tuple(months)


def decide(layout: Layout) -> tuple[Decision, ...]:
    """Say what becomes of each wanted month."""
    return tuple(_decide(layout, month) for month in wanted(layout.now))


def _decide(layout: Layout, month: Month) -> Decision:
    there = [each for each in layout.partitions if each.overlaps(month)]
    if there:
        names = ", ".join(f"{each.schema}.{each.name}" for each in there)
        if _covered(month, there):
            return Decision(month, Choice.COVERED, f"{names} holds it")
        return Decision(month, Choice.OVERLAPS, f"{names} holds a part of it: make the rest of it by hand")
    # what is not partitioned yet becomes the DEFAULT
    beside = layout.default is not None or layout.key is None
    default = f"{layout.schema}.{layout.default.name if layout.default else default_name()}"
    if beside and month.start - layout.now < _SOON:
        why = f"rows of it come at any moment: they go to {default}, and stay there until retention deletes them"
        return Decision(month, Choice.BEGUN, why)
    if month in layout.held:
        why = f"{default} holds rows of it, which stay there until retention deletes them"
        return Decision(month, Choice.HELD, why)
    if month in layout.taken:
        return Decision(month, Choice.TAKEN, f"another table is called {layout.schema}.{month.table}: rename it")
    return Decision(month, Choice.MAKE, "is made")


def _covered(month: Month, there: Sequence[Partition]) -> bool:
    """Whether these partitions, which do not overlap each other, hold all of the month."""
    until = month.start
    for each in sorted(there, key=lambda one: one.since or month.start):
        if each.since is not None and each.since > until:
            return False
        until = each.until or month.end
    return until >= month.end


def default_name() -> str:
    """Return what the table is called once it is the DEFAULT partition."""
    return "action_results_default"


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock of a step. `seconds` is for how long it is held, as expected."""

    mode: str
    relation: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.mode} on {self.relation}, about {self.seconds * 1000:,.0f} ms"


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction: its commands, and the locks that others may wait for."""

    title: str
    commands: tuple[str, ...]
    locks: tuple[Lock, ...] = ()


def scan_seconds(rows: int) -> float:
    """Return how long reading so many rows takes. Measured on two cores."""
    return 0.002 + max(0, rows) / _ROWS_PER_SECOND
