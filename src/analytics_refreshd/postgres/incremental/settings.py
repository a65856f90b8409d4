"""What the incremental mode is told."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept; None: the horizon stays where it is.

    `late_rows` tells whether rows that are inserted before the horizon are left out or counted.
    """

    rows_seconds: float | None
    late_rows: Literal["ignore", "apply"] = "ignore"


@dataclass(frozen=True, slots=True)
class Outbox:
    """Whether folds keep batches for a warehouse, of how many rows."""

    wanted: bool
    rows_limit: int = 5_000_000
