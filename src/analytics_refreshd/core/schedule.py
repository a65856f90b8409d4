"""Compute the slots to refresh at, on the wall clock in UTC.

A slot is a multiple of the interval since the Unix epoch, plus the daemon's fixed offset. So all replicas, and a
restarted daemon, have the same slots without communication.
"""

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from analytics_refreshd.core.errors import UNREACHABLE
from analytics_refreshd.core.model import Outcome, Reason, Run

STATEMENT_SHARE = 0.80
"""What share of its interval the server lets a view's refresh take, unless a shorter time is configured."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def splay_offset(name: str, splay: timedelta) -> timedelta:
    """Return the fixed part of `splay` that delays the daemon `name`."""
    if splay <= timedelta(0):
        return timedelta(0)
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return timedelta(milliseconds=int(splay / timedelta(milliseconds=1) * share))


def slot_at(moment: datetime, interval: timedelta, offset: timedelta = timedelta(0)) -> datetime:
    """Return the last slot at or before the aware `moment`.

    It is in UTC, so summer time changes nothing.
    """
    elapsed = moment - _EPOCH
    return _EPOCH + elapsed - (elapsed - offset) % interval


def next_slot(moment: datetime, interval: timedelta, offset: timedelta = timedelta(0)) -> datetime:
    """Return the first slot after `moment`."""
    return slot_at(moment, interval, offset) + interval


def due_at_start(ages_seconds: Iterable[float | None], interval: timedelta) -> bool:
    """Return whether a view's age is unknown or over one interval.

    If so, the daemon refreshes at once when it starts.
    """
    return any(age is None or age > interval.total_seconds() for age in ages_seconds)


def clock_step(wall_elapsed: timedelta, monotonic_elapsed: timedelta) -> timedelta:
    """Return how far the wall clock jumped; positive is forward."""
    return wall_elapsed - monotonic_elapsed


_SOON = UNREACHABLE | {
    Reason.CONN_LOST,
    Reason.DEADLOCK,
    Reason.LOCK_TIMEOUT,
    Reason.OVERLAP,
    Reason.SERIALIZATION,
    Reason.TOO_MANY_CONNECTIONS,
}
"""What is likely to be over at the next slot of any view, so that a view need not wait for its own."""


@dataclass(frozen=True, slots=True)
class ViewTimes:
    """How long a view's refresh may take, in seconds."""

    lock_timeout_seconds: float
    statement_timeout_seconds: float
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """The slots of every view: those of its own interval, where it has one, else of the common one.

    `views` are in their configured order, `own` has the intervals of some of them. Without `own` all views are due in
    each slot. With it a view is due until a run takes its latest slot: what came during another run is done by the next
    one, once.
    """

    interval: timedelta
    offset: timedelta = timedelta(0)
    views: tuple[str, ...] = ()
    own: Mapping[str, timedelta] = field(default_factory=dict)

    def interval_of(self, view: str) -> timedelta:
        """Return a view's interval."""
        return self.own.get(view, self.interval)

    @property
    def intervals(self) -> tuple[timedelta, ...]:
        """The different intervals in use, the shortest first."""
        if not self.own:
            return (self.interval,)
        return tuple(sorted({self.interval_of(view) for view in self.views}))

    @property
    def shortest(self) -> timedelta:
        """The shortest interval in use."""
        return self.intervals[0]

    def slot_at(self, moment: datetime) -> datetime:
        """Return the last slot of any view at or before `moment`."""
        return max(slot_at(moment, interval, self.offset) for interval in self.intervals)

    def slot_but(self, moment: datetime, skipped: Container[datetime]) -> datetime:
        """Return the last slot at or before `moment` that was not skipped: the one of a run that had to wait."""
        slot = self.slot_at(moment)
        while slot in skipped:
            slot = self.slot_at(slot - timedelta(microseconds=1))
        return slot

    def next_slot(self, moment: datetime) -> datetime:
        """Return the first slot of any view after `moment`."""
        return min(next_slot(moment, interval, self.offset) for interval in self.intervals)

    def next_slot_of(self, view: str, moment: datetime) -> datetime:
        """Return the first slot of a view after `moment`."""
        return next_slot(moment, self.interval_of(view), self.offset)

    def due(self, moment: datetime, taken: Mapping[str, datetime]) -> tuple[str, ...] | None:
        """Return the views whose latest slot is not in `taken`.

        The shortest interval comes first. None: every view, since none has an interval of its own. A slot in `taken`
        that is another than the latest, also a later one, leaves the view due: the clock may have been set back.
        """
        if not self.own:
            return None
        latest = self.slots_at(moment)
        return self.ordered(view for view in self.views if latest[view] != taken.get(view))

    def slots_at(self, moment: datetime) -> dict[str, datetime]:
        """Return each view's latest slot at `moment`."""
        return {view: slot_at(moment, self.interval_of(view), self.offset) for view in self.views}

    def overdue(self, ages_seconds: Mapping[str, float | None]) -> tuple[str, ...] | None:
        """Return the views to refresh at once when the daemon starts: older than their interval, or of unknown age.

        None: every view. Empty: none.
        """
        old = [view for view, age in ages_seconds.items() if due_at_start([age], self.interval_of(view))]
        if not ages_seconds or (old and not self.own):
            return None
        return self.ordered(old)

    def ordered(self, views: Iterable[str]) -> tuple[str, ...]:
        """Return `views` with the shortest interval first: these wait for no other."""
        return tuple(sorted(views, key=self.interval_of))


def taken(due: Iterable[str], run: Run | None) -> frozenset[str]:
    """Return which due views have had their slot.

    The others are due again at the next slot of any view. A skipped run took none, and a view that failed for something
    that is likely to pass has not had its slot either. None: on a standby, whose slots are the leader's business.
    """
    if run is None:
        return frozenset(due)
    if run.outcome is Outcome.SKIPPED:
        return frozenset()
    causes = {
        result.view: run.reason if result.reason is Reason.ROLLED_BACK else result.reason
        for result in run.views
        if not result.success
    }
    return frozenset(view for view in due if causes.get(view) not in _SOON)
