"""Follow the pauses of a log.

A view that becomes stale because refreshes are paused is not an incident.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from analytics_refreshd.incident.fields import Fields, moment_of, text_of
from analytics_refreshd.incident.model import PauseSeen

GRACE_INTERVALS = 2
"""The first refresh after a pause may take this many intervals. The daemon's own alert on age waits as long."""


class Pauses:
    """Keep the latest pause.

    Every replica logs it, and a daemon that starts during the pause logs it again. It ends with `refresh.resumed`, at
    its `until`, or at the slot of a run, whichever comes first. `in_force` is the pause that prevents refreshes now.
    """

    def __init__(self, interval_seconds: Callable[[], float]) -> None:
        self._interval_seconds = interval_seconds
        self.in_force: PauseSeen | None = None
        self._last: PauseSeen | None = None
        self._first_effective_at: datetime | None = None  # start of the first of the pauses without a refresh between
        self._tried = False

    @property
    def effective(self) -> PauseSeen | None:
        """Return the last pause until a refresh was tried after it."""
        return None if self._tried else self._last

    def settle(self, at: datetime) -> None:
        """End a pause whose time has passed."""
        pause = self.in_force
        if pause is not None and pause.until_at is not None and at >= pause.until_at:
            self._end(max(pause.until_at, pause.from_at))

    def paused(self, at: datetime, fields: Fields) -> PauseSeen | None:
        """Handle `refresh.paused`. Returns the pause if it is a new one."""
        made = PauseSeen(at, moment_of(fields, "until"), text_of(fields, "reason_text"), text_of(fields, "created_by"))
        last, pause = self._last, self.in_force
        if last is not None and last.until_at is not None and last.same_as(made) and last.until_at == made.until_at:
            return None  # another replica logged it, perhaps after its end
        if pause is None:
            return self._begin(made)
        if pause.same_as(made) or pause.unnamed:
            pause.until_at, pause.reason_text, pause.created_by = made.until_at, made.reason_text, made.created_by
            return None
        self._end(at)
        return self._begin(made)

    def skipped(self, at: datetime) -> PauseSeen | None:
        """Handle a slot skipped for a pause. Returns the pause if no line named it."""
        if self.in_force is not None:
            return None
        effective = self.effective
        if effective is not None and effective.ended_at == effective.until_at:
            effective.until_at = effective.ended_at = None  # the pause was extended
            self.in_force = effective
            return None
        return self._begin(PauseSeen(at, None, None, None))

    def _begin(self, pause: PauseSeen) -> PauseSeen:
        if self.effective is None or self.overdue_since(pause.from_at) is not None:
            self._first_effective_at = pause.from_at
        self._last = self.in_force = pause
        self._tried = False
        return pause

    def _end(self, at: datetime) -> None:
        if self.in_force is not None:
            self.in_force.ended_at = at
            self.in_force = None

    def resumed(self, at: datetime) -> None:
        """Handle `refresh.resumed`."""
        self._end(at)

    def ran(self, at: datetime, fields: Fields) -> None:
        """Handle `refresh.finished`: its slot within a pause proves the pause ended."""
        pause = self.in_force
        slot = moment_of(fields, "scheduled_at") if pause is not None else None
        if pause is not None and slot is not None and pause.from_at < slot <= at:
            self._end(slot)

    def tried(self) -> None:
        """Record that a run ended, or is overdue, after the pause.

        A view that is stale from here on is stale for another reason than the pause.
        """
        self._tried = self._tried or self.in_force is None

    def covers(self, since: datetime) -> bool:
        """Return whether `since` is within or after the effective pause."""
        first_at = self._first_effective_at
        return self.effective is not None and first_at is not None and first_at <= since

    def overdue_since(self, at: datetime) -> datetime | None:
        """Return the effective pause's end if a refresh is overdue since then."""
        ended_at = None if self.effective is None else self.effective.ended_at
        if ended_at is None or at - ended_at <= timedelta(seconds=GRACE_INTERVALS * self._interval_seconds()):
            return None
        return ended_at
