"""What `retain` shows and returns."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from analytics_refreshd.app.commands.retain_months import MonthsDone
from analytics_refreshd.core.retention import End, Survey
from analytics_refreshd.core.retention_months import Months


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would delete. `refused` says why it would not; `token` confirms it.

    `takes` names the partitions that go as a whole, `drops` those that go for good.
    """

    database: str
    bound: datetime
    survey: Survey
    keep_figures: bool
    refused: str | None
    token: str
    months: Months
    takes: tuple[str, ...]
    drops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retained:
    """What a run did. `rows_left` is None where they could not be counted."""

    run_id: UUID
    bound: datetime
    end: End
    reason: str | None
    rows_deleted: int
    rows_left: int | None
    portions: int
    seconds: float
    months: MonthsDone
