"""What a warehouse holds, and what is sent to it next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import IO, Protocol
from uuid import UUID

from analytics_refreshd.core.errors import RefreshdError

NO_HOUR = -(2**63)
"""What stands for the hour of an execution without a time; one more for -infinity."""

_HOUR = ("hour_at", "action_type", "status")
_SUMS = ("n", "timed", "duration_total", "retry_total", "retried")
CELLS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hour_totals": (*_HOUR, *_SUMS),
        "hour_durations": (*_HOUR, "duration_ms", "n"),
        "trigger_totals": (
            "trigger_id", "n", "succeeded", "failed", "retrying", "timed", "duration_total", "tried", "retry_total",
        ),
        "trigger_durations": ("trigger_id", "duration_ms", "n"),
        "trigger_retries": ("trigger_id", "retry_count", "n"),
        "trigger_hours": (
            "hour_at", "trigger_id", "action_type", "status", "frozen", "organization_id", *_SUMS,
        ),
    }
)  # fmt: skip
"""The tables of cells with their columns, after `database` and `epoch`."""
SUMMED = frozenset({*_SUMS, "succeeded", "failed", "retrying", "tried"})
"""Columns of cells that are summed; all others are the key."""
KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hours": ("hour_totals", "hour_durations"),
        "triggers": ("trigger_totals", "trigger_durations", "trigger_retries"),
        "trigger_hours": ("trigger_hours",),
    }
)
"""The tables that a range of each kind is exported to."""
SNAPSHOTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "triggers": (
            "trigger_id", "organization_id", "name", "enabled", "created_at", "first_execution_at",
            "last_execution_at", "batch",
        ),
        "organizations": ("organization_id", "name", "slug", "plan", "batch"),
        "recent_failures": (
            "id", "job_id", "trigger_id", "event_id", "action_type", "error_message", "retry_count", "executed_at",
            "duration_ms", "response_data", "batch",
        ),
        "action_type_distribution": (
            "action_type", "total_executions", "success_count", "failure_count", "percentage", "avg_duration_ms",
            "total_retries", "last_execution_at", "batch",
        ),
    }
)  # fmt: skip
"""The tables that are sent as a whole, with their columns after `database`."""
EXCHANGED = (*SNAPSHOTS, "action_results")
"""The tables whose partitions are exchanged; each has one of the same name with `_incoming` beside it."""
LANDING = ("batch", "batch_id", "folded_at", "hour_at", "trigger_id", "action_type", "status", "duration_ms",
           "retry_count", "n")  # fmt: skip
"""The columns of the landing table `deltas`, after `database` and `epoch`."""


class FaultKind(StrEnum):
    """What went wrong: it is away, it refused, it took too long, or it would have answered too much."""

    AWAY = "away"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"


class WarehouseFault(RefreshdError):
    """The warehouse cannot be reached, or refused. The text says what to do, and holds nothing secret."""

    def __init__(self, message: str, kind: FaultKind = FaultKind.REFUSED) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of the outbox, without its rows."""

    batch: int
    batch_id: UUID
    rows: int
    folded_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxState:
    """What the outbox holds, read at the server's `read_at`.

    `recording` is False while an export is due and has not begun. Batches up to `base_batch` are in the export.
    `acknowledged_id` is None where no batch was acknowledged since the export. `waiting` has the batches that were
    not acknowledged, oldest first. `ranges_left` of `ranges` of the export are not sent yet.
    """

    epoch: int
    epoch_id: UUID
    epoch_reason: str
    epoch_at: datetime
    recording: bool
    base_batch: int
    base_folded_at: datetime | None
    acknowledged_batch: int
    acknowledged_id: UUID | None
    waiting: tuple[Batch, ...]
    ranges: int
    ranges_left: int
    read_at: datetime

    @property
    def rows(self) -> int:
        """Count the rows that wait."""
        return sum(batch.rows for batch in self.waiting)

    @property
    def exporting(self) -> bool:
        """Whether an export is due or under way."""
        return not self.recording or self.ranges_left > 0

    def lag_seconds(self, now: datetime) -> float:
        """Return how long the oldest that is not sent has waited.

        `now` is by the server's clock.
        """
        if self.exporting:
            since: datetime | None = self.epoch_at
        else:
            since = self.waiting[0].folded_at if self.waiting else None
        return max(0.0, (now - since).total_seconds()) if since is not None else 0.0


@dataclass(frozen=True, slots=True)
class Range:
    """A part of an export: of hours, or of triggers, from the first one up to another; None: to the end."""

    place: int
    kind: str
    from_hour_at: int | None = None
    until_hour_at: int | None = None
    from_trigger: str | None = None
    until_trigger: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """How far the warehouse is: its last complete epoch, and the last batch that landed in it.

    `batch_id` is None where none did; `batch` is then the one that the epoch was exported at.
    """

    epoch: int
    epoch_id: UUID
    batch: int
    batch_id: UUID | None


class Doing(StrEnum):
    """What a sender does next."""

    EXPORT = "export"
    SEND = "send"
    SEND_AGAIN = "send again"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Step:
    """The next step of a sender.

    `batch` is the one to send. A restart has its `reason`, and the epoch that the new one must be `above`.
    """

    doing: Doing
    batch: Batch | None = None
    reason: str = ""
    above: int = 0


def next_step(outbox: OutboxState, position: Position | None) -> Step:
    """Compare outbox and warehouse, and tell what to do next.

    They have parted where the warehouse has what this database never sent, as after a failover to a standby that
    lacked it, or lacks what this database knows to be there, as after a restore. Then only a new epoch is right.
    A batch that is there and was not acknowledged may be there in part: its answer was lost, or a table refused it.
    It is sent again, which adds what is missing.
    """
    if position is None or position.epoch < outbox.epoch:
        return Step(Doing.EXPORT)
    if position.epoch > outbox.epoch or position.epoch_id != outbox.epoch_id:
        return Step(
            Doing.RESTART, reason="the warehouse has an epoch of another copy of this database", above=position.epoch
        )
    if (position.batch, position.batch_id) == (outbox.acknowledged_batch, outbox.acknowledged_id):
        return Step(Doing.SEND, batch=outbox.waiting[0] if outbox.waiting else None)
    for batch in outbox.waiting:
        if (batch.batch, batch.batch_id) == (position.batch, position.batch_id):
            return Step(Doing.SEND_AGAIN, batch=batch)
    ahead = position.batch > outbox.acknowledged_batch
    reason = "the warehouse has a batch that this database has not" if ahead else "the warehouse lost batches"
    return Step(Doing.RESTART, reason=reason, above=position.epoch)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one call of a sender sent.

    `exported_epoch` is that of an export that was completed. `restarted` says why a new epoch began, if one did.
    `months` are those whose action rows were loaded, as 202603.
    """

    batches: int = 0
    rows: int = 0
    ranges: int = 0
    exported_epoch: int | None = None
    restarted: str | None = None
    months: tuple[int, ...] = ()


class Outbox(Protocol):
    """The batches and cells that a warehouse is fed from. Every method raises DatabaseFault."""

    def state(self) -> OutboxState | None:
        """Read what waits; None where no outbox is installed."""

    def claim(self) -> bool:
        """Be the only one that sends, until the connection is closed. False while another is."""

    def start(self) -> bool:
        """Begin the export of the epoch. False while the rollups are being built."""

    def restart(self, reason: str, above: int) -> None:
        """Begin a new epoch: an export is due."""

    def ranges(self, epoch: int) -> list[Range]:
        """Return the parts of the export that were not sent yet."""

    def cells(self, table: str, part: Range, outbox: OutboxState, body: IO[bytes]) -> None:
        """Write the cells of a part, as of the base batch.

        They are worth nothing where the epoch is over by then.
        """

    def range_sent(self, epoch: int, place: int) -> bool:
        """Note that a part was sent. False where the epoch is over."""

    def rows(self, batch: Batch, epoch: int, body: IO[bytes]) -> None:
        """Write the rows of a batch."""

    def acknowledge(self, epoch: int, batch: int) -> bool:
        """Take away all batches up to this one. False where the epoch is over."""

    def snapshot(self, table: str, batch: int, body: IO[bytes]) -> None:
        """Write the rows of a table that is sent as a whole."""


class Warehouse(Protocol):
    """Where batches go. Every method raises WarehouseFault."""

    def position(self) -> Position | None:
        """Return how far the warehouse is.

        None where it has no complete epoch of this database.
        """

    def export(self, table: str, epoch: int, token: str, body: IO[bytes]) -> None:
        """Insert cells; the same token twice counts once."""

    def has_cells(self, epoch: int) -> bool:
        """Whether anything of an epoch is there."""

    def complete(self, outbox: OutboxState) -> None:
        """Let readers use the epoch, and drop those before it."""

    def land(self, epoch: int, batch: Batch, body: IO[bytes]) -> None:
        """Insert a batch; twice counts once."""

    def rows_of(self, epoch: int, batch: Batch) -> int:
        """Count the rows of a batch that are there."""

    def replace(self, table: str, body: IO[bytes]) -> None:
        """Exchange the rows of a table that is sent whole."""
