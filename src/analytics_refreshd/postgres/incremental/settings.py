"""What the incremental mode is told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept; None: the horizon stays where it is."""

    rows_seconds: float | None
