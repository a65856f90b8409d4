"""What a refresh cycle needs of the configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from analytics_refreshd.core.schedule import ViewTimes

_MARGIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CycleSettings:
    """What a cycle needs of the configuration.

    A reload replaces all of it; a run under way keeps the settings that it began with. `interval` is the shortest in
    use, `own` has the times of views with one of their own. `due` are the views of a run that refreshes some only.
    """

    views: tuple[str, ...]
    interval: timedelta
    lock_timeout_seconds: float
    deadline_seconds: float
    isolation: str
    rows_collapse_ratio: float
    slow_factor: float
    own: Mapping[str, ViewTimes] = field(default_factory=dict)
    due: tuple[str, ...] | None = None

    def only(self, views: Sequence[str] | None) -> "CycleSettings":
        """Return the settings of a run of `views`, in this order.

        None: all of them. It may take as long as the slowest of its views.
        """
        known = self.views if views is None else tuple(view for view in views if view in self.views)
        deadlines = [self.own[view].deadline_seconds if view in self.own else self.deadline_seconds for view in known]
        return replace(
            self,
            views=known,
            deadline_seconds=max(deadlines, default=self.deadline_seconds),
            due=None if views is None else known,
        )

    def latest_start_seconds(self, now: datetime, scheduled_at: datetime | None) -> float:
        """Return in how many seconds the last attempt may begin.

        The slot may be used up to its end. An attempt may go on for its whole deadline, but where that is longer than
        the slot, a failed one is for the next slot to repeat.
        """
        late = (now - scheduled_at).total_seconds() if scheduled_at else 0.0
        left = self.interval.total_seconds() - max(0.0, late) - _MARGIN_SECONDS
        deadline = self.deadline_seconds
        if self.own:
            deadline = min(deadline, self.interval.total_seconds())
        return max(left, deadline) - deadline * 0.1
