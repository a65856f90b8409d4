"""Decides which cells are compared by the hour or by the day."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from analytics_refreshd.core.warehouse import CELLS, NO_HOUR, SUMMED, OutboxState, Range
from analytics_refreshd.core.warehouse_rows import Month

_DAY_SECONDS = 86_400
_BEGINNING = NO_HOUR + 1
"""The hour of an execution at -infinity."""
DAYS = ("day_at", "trigger_id", "action_type", "status", *(name for name in CELLS["hour_totals"] if name in SUMMED))
"""The columns by which frozen days are compared: without organizations, which hours do not know."""


@dataclass(frozen=True, slots=True)
class FrozenDays:
    """The days of triggers before the horizon.

    They hold the hours from `since_hour_at` up to `until_hour_at`, the horizon. The `parts` are ranges of days.
    """

    since_hour_at: int
    until_hour_at: int
    parts: tuple[Range, ...]


class OutboxSnapshot(Protocol):
    """The rollups as of the last batch that was acknowledged."""

    @property
    def state(self) -> OutboxState:
        """What the outbox held."""

    def ranges(self) -> list[Range]:
        """Return the parts that are compared cell by cell."""

    def frozen(self) -> FrozenDays | None:
        """Return the days that are compared as a whole.

        None where nothing is frozen by the day.
        """

    def cells(self, table: str, part: Range) -> bytes:
        """Return the cells of a part, a line of text each."""

    def days(self, part: Range) -> bytes:
        """Return the days of a part, a line of text each."""

    def months(self, keep_seconds: float) -> list[Month]:
        """Return the months whose action rows are to be there."""

    def month_parts(self, month: Month) -> list[Range]:
        """Return the parts of a month."""

    def month_hours(self, part: Range) -> bytes:
        """Count the action rows of each hour that are alike: a line of text each."""


def compared_ranges(parts: Sequence[Range], horizon_at: int | None, *, ordered: bool = True) -> list[Range]:
    """Return the parts that are compared cell by cell.

    Hours of triggers before the horizon are left out, but for executions without a time: those are never frozen. Where
    triggers are not `ordered` alike on both sides, all of them are one part.
    """
    found = [] if ordered else [Range(0, "triggers")]
    for part in parts:
        if part.kind == "triggers" and not ordered:
            continue
        if part.kind != "trigger_hours" or horizon_at is None:
            found.append(part)
            continue
        if part.from_hour_at == NO_HOUR:
            found.append(replace(part, until_hour_at=_BEGINNING))
        if part.until_hour_at is None or part.until_hour_at > horizon_at:
            found.append(replace(part, from_hour_at=max(_first(part), horizon_at)))
    return found


def frozen_days(parts: Sequence[Range], since_hour_at: int, horizon_at: int) -> FrozenDays:
    """Return the parts before the horizon, as ranges of whole days."""
    days = [
        replace(
            part,
            kind="trigger_days",
            from_hour_at=_day_of(_first(part)),
            until_hour_at=(
                None if part.until_hour_at is None or part.until_hour_at >= horizon_at else _day_of(part.until_hour_at)
            ),
        )
        for part in parts
        if part.kind == "trigger_hours" and _first(part) < horizon_at
    ]
    return FrozenDays(since_hour_at, horizon_at, tuple(days))


def _first(part: Range) -> int:
    return NO_HOUR if part.from_hour_at is None else part.from_hour_at


def _day_of(hour_at: int) -> int:
    return hour_at if hour_at <= _BEGINNING else hour_at - hour_at % _DAY_SECONDS
