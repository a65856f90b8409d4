"""Decide from when to when an outage is an incident."""

from collections import deque
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from analytics_refreshd.core.events import Event
from analytics_refreshd.incident.asked import asked_of
from analytics_refreshd.incident.builder import IncidentBuilder, PendingObservations
from analytics_refreshd.incident.failing import FailingViews
from analytics_refreshd.incident.fields import Fields, count_of, later, moment_of, number_of, text_of
from analytics_refreshd.incident.model import LIMIT, AlertSeen, AwaySeen, PauseSeen, StaleSeen
from analytics_refreshd.incident.pauses import Pauses
from analytics_refreshd.incident.stale import StaleReport

GAP_INTERVALS = 3
"""Two incidents with less than this many intervals between them are one."""
INCIDENTS_KEPT = 500
"""The latest ones of a database are kept, the others counted."""


class OutageTracker:
    """Track the three conditions that make an incident.

    They are: the last run failed, the database is away, a view is stale. Log lines open and close each of them.
    `builder` builds the current incident, or one that is over and may still continue. `done` holds the complete ones.
    `outside` holds the crashes that belong to no incident.
    """

    def __init__(self, interval_seconds: Callable[[], float], firing: Callable[[], list[AlertSeen]]) -> None:
        self._interval_seconds = interval_seconds
        self._firing = firing
        self.first_at: datetime | None = None
        self.last_ok_at: datetime | None = None
        self.failing = FailingViews()
        self._away: dict[str, AwaySeen] = {}
        self._answered: dict[str, AwaySeen] = {}
        self._stale: dict[str, StaleSeen] = {}
        self._excused: dict[str, StaleReport] = {}
        self.pauses = Pauses(interval_seconds)
        self._pending = PendingObservations()
        self.outside = PendingObservations()
        self.builder: IncidentBuilder | None = None
        self.done: deque[IncidentBuilder] = deque(maxlen=INCIDENTS_KEPT)
        self.left_out = 0

    @property
    def active(self) -> IncidentBuilder | None:
        """Return the builder of the incident that is not over."""
        return self.builder if self.builder is not None and self.builder.ended_at is None else None

    @property
    def observations(self) -> PendingObservations:
        """Return where blockers, retries, errors and changes of leader go."""
        return self.active or self._pending

    def attach(self, alert: AlertSeen) -> bool:
        """Add an alert to the incident. Returns False if there is none."""
        if self.builder is not None:
            self.builder.attach(alert)
        return self.builder is not None

    def settle(self, at: datetime) -> None:
        """Complete an incident that has been over for long enough."""
        builder = self.builder
        if builder is not None and builder.ended_at is not None:
            if at - builder.ended_at > timedelta(seconds=GAP_INTERVALS * self._interval_seconds()):
                self.finish()
        self.pauses.settle(at)
        overdue_since = self.pauses.overdue_since(at) if self._excused else None
        if overdue_since is not None:
            stale_since = min(item.begun_at for item in self._excused.values())
            self.expect_fresh(self.begin(max(overdue_since, stale_since), Event.VIEW_STALE.value))

    def _drop_pending(self) -> None:
        """Drop what belongs to no incident, except crashes, which are listed on their own."""
        if self._pending.any:
            self.outside.take_crashes(self._pending)
            self._pending = PendingObservations()

    def end(self) -> None:
        """Handle the end of the log."""
        self.finish()
        self._drop_pending()

    def finish(self) -> None:
        """Complete the current incident."""
        if self.builder is not None:
            self.left_out += len(self.done) == INCIDENTS_KEPT
            self.done.append(self.builder)
            self.builder = None

    def begin(self, at: datetime, began_with: str) -> IncidentBuilder:
        """Return the incident's builder: the current, the recent, or a new one."""
        builder = self.builder
        if builder is None:
            builder = self.builder = IncidentBuilder(at, began_with, self.last_ok_at)
            for alert in self._firing():
                builder.attach(alert)
        elif builder.ended_at is not None:
            builder.go_on()
        if self.pauses.overdue_since(at) is None:
            builder.pause(self.pauses.effective)
        builder.take(self._pending)
        self._pending = PendingObservations()
        return builder

    def _check_over(self, at: datetime) -> None:
        builder = self.active
        if builder is not None and not self.failing and not self._away and not self._stale:
            builder.ended_at = max(at, builder.started_at)

    def ok(self, at: datetime, views: Collection[str] | None = None) -> None:
        """Handle a successful run: the database answers, `views` are refreshed, None for all."""
        self.failing.refreshed(views)
        self.last_ok_at = at
        self._excused = {} if views is None else {name: self._excused[name] for name in self._excused.keys() - views}
        if not self._excused:
            self.pauses.tried()
        self._drop_pending()
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
            if views is None or view in views:
                self.fresh(at, view)
        self._check_over(at)

    def configured(self, at: datetime, views: Collection[str] | None) -> None:
        """Handle `config.loaded` and `config.reloaded`: what is refreshed no more needs no success."""
        if views is not None:
            self.failing.configured(views)
            for view in (*self._stale, *self._excused):
                if view not in views:
                    self.fresh(at, view)
            self._check_over(at)

    # -- pauses ----------------------------------------------------------------------------------------------

    def paused(self, at: datetime, fields: Fields) -> None:
        """Handle `refresh.paused`."""
        self._pause_in(self.pauses.paused(at, fields))

    def asked(self, at: datetime, fields: Fields) -> None:
        """Handle `operator.request_ended`, also just after the incident: it may have ended that."""
        if self.builder is not None:
            self.builder.ask(asked_of(at, fields))

    def slot_paused(self, at: datetime) -> None:
        """Handle `refresh.skipped` for a pause."""
        self._pause_in(self.pauses.skipped(at))

    def _pause_in(self, pause: PauseSeen | None) -> None:
        if self.builder is not None:
            self.builder.pause(pause)

    def leader(self, at: datetime, replica: str, fields: Fields) -> None:
        """Handle a change of leader.

        An incident that cost the leader also includes the line of the next leader, even after its end.
        """
        builder = self.builder
        if builder is None or (builder.ended_at is not None and not builder.leaderless):
            self._pending.leader(at, replica, fields)
            return
        builder.leader(at, replica, fields)
        builder.leaderless = text_of(fields, "event") == Event.LEADER_LOST.value

    # -- the database ----------------------------------------------------------------------------------------

    def lost(self, at: datetime, replica: str, fields: Fields) -> None:
        """Handle `database.lost`."""
        builder = self.begin(at, Event.DATABASE_LOST.value)
        builder.errors.add(at, Event.DATABASE_LOST.value, fields)
        self.gone(builder, replica, at)

    def is_gone(self, replica: str) -> bool:
        """Return whether the database is already away for this replica."""
        return replica in self._away

    def gone(self, builder: IncidentBuilder, replica: str, since: datetime | None) -> None:
        """Record that the database is away for a replica.

        `since` is None if only later lines show it.
        """
        if replica in self._away or len(self._away) >= LIMIT:
            return
        away = builder.away.get(replica)
        if away is None:
            away = AwaySeen(replica, since)
            if len(builder.away) < LIMIT:
                builder.away[replica] = away
        else:
            away.times += 1
        away.until_at, away.open_since = None, since
        self._away[replica] = away

    def restored(self, at: datetime, replica: str, fields: Fields) -> None:
        """Handle `database.restored`, which also counts seconds away and missed slots."""
        seconds, missed = number_of(fields, "seconds"), count_of(fields, "missed_slots")
        began = later(at, -seconds) if seconds is not None and seconds >= 0 else None
        late = self._answered.pop(replica, None)
        if replica not in self._away and late is not None and self.builder is not None:
            # a run of another replica succeeded first; only this line has the number of slots
            if missed is not None:
                late.missed_slots = (late.missed_slots or 0) + missed
            return
        if replica not in self._away:
            builder = self.begin(began or at, Event.DATABASE_RESTORED.value)
            builder.add_gap("the loss of the database: its database.lost is not in the log")
            self.gone(builder, replica, began)
        away = self._away.pop(replica, None)
        if away is not None:
            since = away.open_since or began
            own = (at - away.open_since).total_seconds() if away.open_since else 0.0
            away.seconds += seconds if began is not None and seconds is not None else max(0.0, own)
            away.from_at = away.from_at or began
            away.until_at, away.open_since = at, None
            if missed is not None:
                away.missed_slots = (away.missed_slots or 0) + missed
                # Only a successful run ends the incident after a missed slot. A slot within a pause does not count: no
                # refresh would have run.
                paused = since is not None and self.pauses.in_force is not None and self.pauses.covers(since)
                if missed > 0 and not paused:
                    self.failing.add(None)
        self._check_over(at)

    # -- views -----------------------------------------------------------------------------------------------

    def view_stale(self, at: datetime, fields: Fields) -> None:
        """Handle `view.stale`.

        The view is stale since its last success plus its limit; both are in the line. A view that became stale in a
        pause is excused, unless an incident had begun before the pause.
        """
        view = text_of(fields, "view")
        if view is None or view in self._stale or view in self._excused or len(self._stale) >= LIMIT:
            return
        limit, success = number_of(fields, "max_age_seconds"), moment_of(fields, "last_success_at")
        since = later(success, limit) if success is not None and limit is not None else None
        since = min(since, at) if since is not None else None
        before_log = since is not None and self.first_at is not None and since < self.first_at
        stale = StaleReport(view, at, since, limit, success, before_log=before_log)
        came_first = self.active is not None and not self.pauses.covers(self.active.started_at)
        if self.pauses.covers(stale.begun_at) and self.pauses.overdue_since(at) is None and not came_first:
            if len(self._excused) < LIMIT:
                self._excused[view] = stale
            return
        self._take_stale(self.begin(stale.begun_at, Event.VIEW_STALE.value), stale)

    def expect_fresh(self, builder: IncidentBuilder) -> None:
        """Count views that a pause made stale: a refresh is overdue now."""
        if self.pauses.in_force is None:
            for stale in self._excused.values():
                self._take_stale(builder, stale)
            self._excused.clear()
            self.pauses.tried()

    def _take_stale(self, builder: IncidentBuilder, given: StaleReport) -> None:
        if given.before_log:
            builder.add_gap(f"what made {given.view} stale: it was so before the log begins")
        builder.touch(given.view)
        stale = builder.stale.get(given.view)
        if stale is None:
            stale = StaleSeen(given.view, given.told_at, given.since_at, given.max_age_seconds)
            if len(builder.stale) < LIMIT:
                builder.stale[given.view] = stale
        else:
            stale.times += 1
        stale.open(given.told_at, given.since_at, given.last_success_at)
        self._stale[given.view] = stale

    def fresh(self, at: datetime, view: str) -> None:
        """Record that a view was refreshed."""
        self._excused.pop(view, None)
        stale = self._stale.pop(view, None)
        if stale is not None:
            stale.close(at)
