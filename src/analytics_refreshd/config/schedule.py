"""The section `[schedule]`, and how long refreshes may take by it."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from analytics_refreshd.config.values import Duration, Section, between
from analytics_refreshd.core.schedule import STATEMENT_SHARE, ViewTimes

_Interval = Annotated[Duration, between("1s", "1d")]

_LOCK_SHARE = 0.10
_DEADLINE_SHARE = 250 / 300


class ScheduleSection(Section):
    """When to refresh. `views` has the intervals of views that have one of their own."""

    interval: _Interval = timedelta(minutes=5)
    splay: Duration = timedelta(0)
    views: dict[str, _Interval] = Field(default_factory=dict)

    def shortest_seconds(self, views: Iterable[str]) -> float:
        """Return the shortest interval of these views."""
        every = [self.views.get(view, self.interval) for view in views] if self.views else []
        return min(every, default=self.interval).total_seconds()


def times(
    interval_seconds: float,
    lock_timeout: timedelta | None,
    statement_timeout: timedelta | None,
    deadline: timedelta | None,
) -> ViewTimes:
    """Return what is configured, else shares of the interval."""
    return ViewTimes(
        _or_share(lock_timeout, interval_seconds, _LOCK_SHARE),
        _or_share(statement_timeout, interval_seconds, STATEMENT_SHARE),
        _or_share(deadline, interval_seconds, _DEADLINE_SHARE),
    )


def own_times(
    interval_seconds: float,
    lock_timeout_seconds: float,
    statement_timeout: timedelta | None,
    deadline: timedelta | None,
) -> ViewTimes:
    """Return those of a view with an interval of its own.

    They are shares of it, and not over what is configured. Nobody waits for a lock for longer than
    `lock_timeout_seconds`, since all other views would wait, too.
    """
    shares = times(interval_seconds, None, None, None)
    given = times(interval_seconds, None, statement_timeout, deadline)
    return ViewTimes(
        min(shares.lock_timeout_seconds, lock_timeout_seconds),
        min(shares.statement_timeout_seconds, given.statement_timeout_seconds),
        min(shares.deadline_seconds, given.deadline_seconds),
    )


def _or_share(value: timedelta | None, interval_seconds: float, share: float) -> float:
    return value.total_seconds() if value is not None else interval_seconds * share
