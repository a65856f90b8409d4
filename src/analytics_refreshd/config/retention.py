"""The sections `[history]` and `[retention]`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from analytics_refreshd.config.values import Duration, PositiveDuration, Section, between


class HistorySection(Section):
    """How long runs are kept.

    `buffer` is how many may wait in memory if they cannot be written.
    """

    retention: Annotated[Duration, between("1d")] = timedelta(days=90)
    buffer: Annotated[int, Field(ge=1, le=10_000)] = 100


class RetentionSection(Section):
    """How long rows stay, and what becomes of their figures.

    `rows` is at least 31 days: the views read 30, and the horizon is a day ahead; None deletes nothing. `migrate`
    writes `rows`, `horizon` and `late_rows` to the database, which every refresh asks. The rest, but for
    `overdue_after`, is how `retain` deletes; `confirmed` lets a timer delete without a token. `erasure_key_file` holds
    the key by which `erase` hashes ids.
    """

    rows: Annotated[Duration, between("31d")] | None = None
    horizon: Literal["auto", "off"] | None = None
    keep: Literal["rollups", "nothing"] = "rollups"
    late_rows: Literal["ignore", "apply"] = "ignore"
    confirmed: bool = False
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    max_lag: Duration = timedelta(seconds=1)
    max_duration: PositiveDuration = timedelta(hours=1)
    undo: Duration = timedelta(days=7)
    overdue_after: PositiveDuration | None = None
    erasure_key_file: Path | None = None

    @property
    def overdue_seconds(self) -> float | None:
        """Return after how long without a run the daemon warns; None: never."""
        return self.overdue_after.total_seconds() if self.overdue_after else None
