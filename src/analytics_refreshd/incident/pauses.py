"""Stretches in which somebody had paused refreshes: what grows old in them is nobody's incident."""

from collections.abc import Callable
from datetime import datetime, timedelta

from analytics_refreshd.incident.fields import Fields, moment_of, text_of
from analytics_refreshd.incident.model import PauseSeen

GRACE_INTERVALS = 2
"""So many intervals the first refresh after a pause may take; the daemon's own alert on age waits as long."""


class Pauses:
    """The latest pause. Every replica tells of it, and a daemon that starts in it tells of it anew.

    It ends with `refresh.resumed`, at its `until`, or at the slot of a run, whichever comes first. `in_force` is the
    pause that keeps refreshes from running.
    """

    def __init__(self, interval_seconds: Callable[[], float]) -> None:
        self._interval_seconds = interval_seconds
        self.in_force: PauseSeen | None = None
        self._last: PauseSeen | None = None
        self._begun_at: datetime | None = None  # of the first of the pauses that no refresh came between
        self._tried = False

    @property
    def felt(self) -> PauseSeen | None:
        """The pause that is in force, or that no refresh was tried after."""
        return None if self._tried else self._last

    def settle(self, at: datetime) -> None:
        """Time has passed."""
        pause = self.in_force
        if pause is not None and pause.until_at is not None and at >= pause.until_at:
            self._end(max(pause.until_at, pause.from_at))

    def paused(self, at: datetime, fields: Fields) -> PauseSeen | None:
        """`refresh.paused`: the pause, where it is a new one."""
        made = PauseSeen(at, moment_of(fields, "until"), text_of(fields, "reason_text"), text_of(fields, "created_by"))
        last, pause = self._last, self.in_force
        if last is not None and last.until_at is not None and last.same_as(made) and last.until_at == made.until_at:
            return None  # told by another replica, perhaps after its end
        if pause is None:
            return self._begin(made)
        if pause.same_as(made) or pause.unnamed:
            pause.until_at, pause.reason_text, pause.created_by = made.until_at, made.reason_text, made.created_by
            return None
        self._end(at)
        return self._begin(made)

    def skipped(self, at: datetime) -> PauseSeen | None:
        """A slot was skipped for a pause: the pause, where no line has told of it."""
        if self.in_force is not None:
            return None
        felt = self.felt
        if felt is not None and felt.ended_at == felt.until_at:
            felt.until_at = felt.ended_at = None  # it was prolonged
            self.in_force = felt
            return None
        return self._begin(PauseSeen(at, None, None, None))

    def _begin(self, pause: PauseSeen) -> PauseSeen:
        if self.felt is None or self.overdue_since(pause.from_at) is not None:
            self._begun_at = pause.from_at
        self._last = self.in_force = pause
        self._tried = False
        return pause

    def _end(self, at: datetime) -> None:
        if self.in_force is not None:
            self.in_force.ended_at = at
            self.in_force = None

    def resumed(self, at: datetime) -> None:
        """`refresh.resumed`."""
        self._end(at)

    def ran(self, at: datetime, fields: Fields) -> None:
        """`refresh.finished`: a run for a slot within a pause proves that the pause was over."""
        pause = self.in_force
        slot = moment_of(fields, "scheduled_at") if pause is not None else None
        if pause is not None and slot is not None and pause.from_at < slot <= at:
            self._end(slot)

    def tried(self) -> None:
        """A run has ended or is overdue: what is stale after it, and after the pause, has another reason."""
        self._tried = self._tried or self.in_force is None

    def covers(self, since: datetime) -> bool:
        """Whether what began at `since` began in a pause that is felt, or after it."""
        return self.felt is not None and self._begun_at is not None and self._begun_at <= since

    def overdue_since(self, at: datetime) -> datetime | None:
        """The end of the pause that is felt, if a refresh should have come since; None where none is overdue."""
        ended_at = None if self.felt is None else self.felt.ended_at
        if ended_at is None or at - ended_at <= timedelta(seconds=GRACE_INTERVALS * self._interval_seconds()):
            return None
        return ended_at
