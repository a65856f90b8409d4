"""What is wrong at a moment, and from when to when that makes an incident."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from analytics_refreshd.core.events import Event
from analytics_refreshd.incident.draft import Draft, Notes
from analytics_refreshd.incident.fields import Fields, count_of, later, moment_of, number_of, text_of
from analytics_refreshd.incident.model import LIMIT, AlertSeen, AwaySeen, PauseSeen, StaleSeen
from analytics_refreshd.incident.pauses import Pauses

GAP_INTERVALS = 3
"""Incidents closer together than this many intervals are one."""
INCIDENTS_KEPT = 500
"""Of one database; the latest are kept, the others counted."""


@dataclass(frozen=True, slots=True)
class Staleness:
    """What `view.stale` tells: at `told_at`, of a view that is stale since `since_at`, as far as that is known."""

    view: str
    told_at: datetime
    since_at: datetime | None
    max_age_seconds: float | None
    last_success_at: datetime | None
    before_log: bool

    @property
    def begun_at(self) -> datetime:
        """From when on it can be trouble."""
        return self.told_at if self.since_at is None or self.before_log else self.since_at


class Trouble:
    """Three conditions, each opened and closed by lines: the last run failed, the database is away, views are stale.

    `draft` is the incident under way, or one that is over and may still be continued; `done` those that are complete.
    `outside` has the crashes of no incident.
    """

    def __init__(self, interval_seconds: Callable[[], float], firing: Callable[[], list[AlertSeen]]) -> None:
        self._interval_seconds = interval_seconds
        self._firing = firing
        self.first_at: datetime | None = None
        self.last_ok_at: datetime | None = None
        self.failing = False
        self._away: dict[str, AwaySeen] = {}
        self._answered: dict[str, AwaySeen] = {}
        self._stale: dict[str, StaleSeen] = {}
        self._excused: dict[str, Staleness] = {}
        self.pauses = Pauses(interval_seconds)
        self._notes = Notes()
        self.outside = Notes()
        self.draft: Draft | None = None
        self.done: deque[Draft] = deque(maxlen=INCIDENTS_KEPT)
        self.left_out = 0

    @property
    def active(self) -> Draft | None:
        """The incident whose trouble lasts."""
        return self.draft if self.draft is not None and self.draft.ended_at is None else None

    @property
    def notes(self) -> Notes:
        """Where blockers, retries, errors and changes of leader are noted."""
        return self.active or self._notes

    def attach(self, alert: AlertSeen) -> bool:
        """Put an alert into the incident; False where there is none."""
        if self.draft is not None:
            self.draft.attach(alert)
        return self.draft is not None

    def settle(self, at: datetime) -> None:
        """Time has passed: an incident that has been over for long enough is complete."""
        draft = self.draft
        if draft is not None and draft.ended_at is not None:
            if at - draft.ended_at > timedelta(seconds=GAP_INTERVALS * self._interval_seconds()):
                self.finish()
        self.pauses.settle(at)
        overdue_since = self.pauses.overdue_since(at) if self._excused else None
        if overdue_since is not None:
            stale_since = min(item.begun_at for item in self._excused.values())
            self.expect_fresh(self.begin(max(overdue_since, stale_since), Event.VIEW_STALE.value))

    def _drop_notes(self) -> None:
        """What was noted belongs to no incident; a daemon's death is worth telling all the same."""
        if self._notes.any:
            self.outside.take_crashes(self._notes)
            self._notes = Notes()

    def end(self) -> None:
        """The log ends."""
        self.finish()
        self._drop_notes()

    def finish(self) -> None:
        """Nothing more belongs to the present incident."""
        if self.draft is not None:
            self.left_out += len(self.done) == INCIDENTS_KEPT
            self.done.append(self.draft)
            self.draft = None

    def begin(self, at: datetime, began_with: str) -> Draft:
        """The incident that this trouble belongs to: the one under way, the one just over, or a new one."""
        draft = self.draft
        if draft is None:
            draft = self.draft = Draft(at, began_with, self.last_ok_at)
            for alert in self._firing():
                draft.attach(alert)
        elif draft.ended_at is not None:
            draft.go_on()
        if self.pauses.overdue_since(at) is None:
            draft.pause(self.pauses.felt)
        draft.take(self._notes)
        self._notes = Notes()
        return draft

    def _check_over(self, at: datetime) -> None:
        draft = self.active
        if draft is not None and not self.failing and not self._away and not self._stale:
            draft.ended_at = max(at, draft.started_at)

    def ok(self, at: datetime) -> None:
        """A run was ok: the database answers, every view is refreshed."""
        self.failing = False
        self.last_ok_at = at
        self._excused.clear()
        self.pauses.tried()
        self._drop_notes()
        if self.active is None:
            return
        for replica, away in self._away.items():
            if away.open_since is not None:
                away.seconds += max(0.0, (at - away.open_since).total_seconds())
            away.until_at, away.open_since = at, None
            self._answered.pop(replica, None)
            self._answered[replica] = away
        self._away.clear()
        while len(self._answered) > LIMIT:
            del self._answered[next(iter(self._answered))]
        for view in list(self._stale):
            self.fresh(at, view)
        self._check_over(at)

    # -- pauses ----------------------------------------------------------------------------------------------

    def paused(self, at: datetime, fields: Fields) -> None:
        """`refresh.paused`."""
        self._pause_in(self.pauses.paused(at, fields))

    def slot_paused(self, at: datetime) -> None:
        """`refresh.skipped` for a pause."""
        self._pause_in(self.pauses.skipped(at))

    def _pause_in(self, pause: PauseSeen | None) -> None:
        if self.draft is not None:
            self.draft.pause(pause)

    def leader(self, at: datetime, replica: str, fields: Fields) -> None:
        """A change of leader; who leads anew after an incident that cost the leader belongs to it too."""
        draft = self.draft
        notes = draft if draft is not None and (draft.ended_at is None or draft.leaderless) else self._notes
        notes.leader(at, replica, fields)
        if draft is notes and draft is not None:
            draft.leaderless = text_of(fields, "event") == Event.LEADER_LOST.value

    # -- the database ----------------------------------------------------------------------------------------

    def lost(self, at: datetime, replica: str, fields: Fields) -> None:
        """`database.lost`."""
        draft = self.begin(at, Event.DATABASE_LOST.value)
        draft.errors.add(at, Event.DATABASE_LOST.value, fields)
        self.gone(draft, replica, at)

    def is_gone(self, replica: str) -> bool:
        """Whether this replica misses the database already."""
        return replica in self._away

    def gone(self, draft: Draft, replica: str, since: datetime | None) -> None:
        """A replica misses the database; `since` None where only later lines tell of it."""
        if replica in self._away or len(self._away) >= LIMIT:
            return
        away = draft.away.get(replica)
        if away is None:
            away = AwaySeen(replica, since)
            if len(draft.away) < LIMIT:
                draft.away[replica] = away
        else:
            away.times += 1
        away.until_at, away.open_since = None, since
        self._away[replica] = away

    def restored(self, at: datetime, replica: str, fields: Fields) -> None:
        """`database.restored`, which also knows for how long it was away and how many slots were missed."""
        seconds, missed = number_of(fields, "seconds"), count_of(fields, "missed_slots")
        began = later(at, -seconds) if seconds is not None and seconds >= 0 else None
        late = self._answered.pop(replica, None)
        if replica not in self._away and late is not None and self.draft is not None:
            # a run of another replica was ok first; this line still knows the slots
            if missed is not None:
                late.missed_slots = (late.missed_slots or 0) + missed
            return
        if replica not in self._away:
            draft = self.begin(began or at, Event.DATABASE_RESTORED.value)
            draft.note("the loss of the database: its database.lost is not in the log")
            self.gone(draft, replica, began)
        away = self._away.pop(replica, None)
        if away is not None:
            since = away.open_since or began
            own = (at - away.open_since).total_seconds() if away.open_since else 0.0
            away.seconds += seconds if began is not None and seconds is not None else max(0.0, own)
            away.from_at = away.from_at or began
            away.until_at, away.open_since = at, None
            if missed is not None:
                away.missed_slots = (away.missed_slots or 0) + missed
                # a slot was missed: only a run that is ok makes up for it; one that a pause would have cost is not owed
                paused = since is not None and self.pauses.in_force is not None and self.pauses.covers(since)
                self.failing = self.failing or (missed > 0 and not paused)
        self._check_over(at)

    # -- views -----------------------------------------------------------------------------------------------

    def view_stale(self, at: datetime, fields: Fields) -> None:
        """`view.stale`; it is stale since its last success plus its limit, which the line carries.

        A view that grew old in a pause is excused, unless an incident was under way when the pause began.
        """
        view = text_of(fields, "view")
        if view is None or view in self._stale or view in self._excused or len(self._stale) >= LIMIT:
            return
        limit, success = number_of(fields, "max_age_seconds"), moment_of(fields, "last_success_at")
        since = later(success, limit) if success is not None and limit is not None else None
        since = min(since, at) if since is not None else None
        before_log = since is not None and self.first_at is not None and since < self.first_at
        stale = Staleness(view, at, since, limit, success, before_log=before_log)
        came_first = self.active is not None and not self.pauses.covers(self.active.started_at)
        if self.pauses.covers(stale.begun_at) and self.pauses.overdue_since(at) is None and not came_first:
            if len(self._excused) < LIMIT:
                self._excused[view] = stale
            return
        self._take_stale(self.begin(stale.begun_at, Event.VIEW_STALE.value), stale)

    def expect_fresh(self, draft: Draft) -> None:
        """What a pause made stale should have been refreshed by now, and is trouble where it was not."""
        if self.pauses.in_force is None:
            for stale in self._excused.values():
                self._take_stale(draft, stale)
            self._excused.clear()
            self.pauses.tried()

    def _take_stale(self, draft: Draft, given: Staleness) -> None:
        if given.before_log:
            draft.note(f"what made {given.view} stale: it was so before the log begins")
        draft.touch(given.view)
        stale = draft.stale.get(given.view)
        if stale is None:
            stale = StaleSeen(given.view, given.told_at, given.since_at, given.max_age_seconds)
            if len(draft.stale) < LIMIT:
                draft.stale[given.view] = stale
        else:
            stale.times += 1
        stale.open(given.told_at, given.since_at, given.last_success_at)
        self._stale[given.view] = stale

    def fresh(self, at: datetime, view: str) -> None:
        """A view was refreshed."""
        self._excused.pop(view, None)
        stale = self._stale.pop(view, None)
        if stale is not None:
            stale.close(at)
