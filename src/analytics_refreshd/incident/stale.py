"""Date a view that became stale."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StaleReport:
    """The fields of one `view.stale` line.

    The line was logged at `told_at`. The view is stale since `since_at`, if that is known.
    """

    view: str
    told_at: datetime
    since_at: datetime | None
    max_age_seconds: float | None
    last_success_at: datetime | None
    before_log: bool

    @property
    def begun_at(self) -> datetime:
        """Return when an incident for it can begin at the earliest."""
        return self.told_at if self.since_at is None or self.before_log else self.since_at
