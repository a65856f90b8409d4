"""Fold a database's log lines, in the order of time, into incidents.

An incident begins with the first failed, partial, timed out or unknown run, with `database.lost`, or with a stale view.
A view that is stale because refreshes were paused does not begin one.
An incident is over when each view's last run was ok, the database answers, and no view is stale. After a missed slot it
also takes a successful run. One successful run of all views proves all of this.
An outage that returns within three intervals continues the same incident. Memory does not grow with the lines.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

from analytics_refreshd.core.errors import UNREACHABLE
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Outcome, Reason
from analytics_refreshd.incident.alerts import AlertEpisodes
from analytics_refreshd.incident.daemons import Daemons
from analytics_refreshd.incident.event_kinds import COUNTED, OF_A_START, OF_THE_API
from analytics_refreshd.incident.fields import (
    Fields,
    configured_views,
    count_of,
    moment_of,
    number_of,
    refreshed_views,
    text_of,
)
from analytics_refreshd.incident.model import LIMIT, DatabaseLog
from analytics_refreshd.incident.tracker import INCIDENTS_KEPT, OutageTracker

DEFAULT_INTERVAL_SECONDS = 300.0
EVENTS = frozenset(item.value for item in Event)
_BAD = frozenset(item.value for item in (Outcome.FAILED, Outcome.PARTIAL, Outcome.TIMEOUT, Outcome.UNKNOWN))
_OUTCOMES = frozenset(item.value for item in Outcome)
_REASONS = frozenset(item.value for item in Reason)


class DatabaseFold:
    """Fold the lines of one database.

    Call `add` in the order of time, and `result` once at the end.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._last_at: datetime | None = None
        self._replicas: dict[str, None] = {}
        self._events = 0
        self._runs: Counter[str] = Counter()
        self._interval_seconds = DEFAULT_INTERVAL_SECONDS
        self._interval_source = "default"
        self._last_slot: datetime | None = None
        self._info_seen = False
        self._lost_lines = 0
        self._unfinished: dict[str, None] = {}
        self._streaks: dict[tuple[str, str], int] = {}
        self._quiet_runs: Counter[str] = Counter()  # by replica, those at level debug: a summary counts them again
        self._tracker = OutageTracker(lambda: self._interval_seconds, lambda: self._alerts.take_firing())
        self._daemons = Daemons()
        self._alerts = AlertEpisodes(self._tracker.attach)
        tracker, alerts = self._tracker, self._alerts
        self._handlers: Mapping[str, Callable[[datetime, str, Fields], object]] = {
            Event.REFRESH_FINISHED: self._finished,
            Event.REFRESH_SKIPPED: self._skipped,
            Event.REFRESH_RETRY: self._retry,
            Event.REFRESH_SUMMARY: self._summary,
            Event.CONFIG_LOADED: lambda at, _, fields: tracker.configured(at, configured_views(fields)),
            Event.CONFIG_RELOADED: lambda at, _, fields: tracker.configured(at, configured_views(fields)),
            Event.VIEW_FAILED: self._view_failed,
            Event.VIEW_BLOCKED: lambda at, _, fields: tracker.observations.blocked(at, fields),
            Event.VIEW_STALE: lambda at, _, fields: tracker.view_stale(at, fields),
            Event.OPERATOR_REQUEST_ENDED: lambda at, _, fields: tracker.asked(at, fields),
            Event.REFRESH_PAUSED: lambda at, _, fields: tracker.paused(at, fields),
            Event.REFRESH_RESUMED: lambda at, _, fields: tracker.pauses.resumed(at),
            Event.DATABASE_LOST: tracker.lost,
            Event.DATABASE_RESTORED: tracker.restored,
            Event.LEADER_ACQUIRED: self._leader,
            Event.LEADER_LOST: self._leader,
            Event.ALERT_ESCALATED: lambda _, __, fields: alerts.escalated(fields),
            Event.ALERT_FIRING: lambda at, _, fields: alerts.firing(at, fields),
            Event.ALERT_RESOLVED: lambda at, _, fields: alerts.resolved(at, fields),
            Event.ALERT_DELIVERED: lambda at, _, fields: alerts.delivered(at, fields),
            Event.ALERT_DELIVERY_FAILED: self._delivery_failed,
            Event.REQUEST_FINISHED: lambda at, _, fields: tracker.observations.requests.add(at, fields),
            Event.DAEMON_STARTED: self._started,
            Event.DAEMON_STOPPING: lambda at, replica, _: self._daemons.stopping(at, replica),
            Event.DAEMON_STOPPED: lambda _, replica, __: self._daemons.stopped(replica),
        }

    def add(self, at: datetime, fields: Fields) -> None:
        """Fold one line. Any field may be missing, or of the wrong type."""
        event, replica = text_of(fields, "event") or "", text_of(fields, "replica") or ""
        if self._tracker.first_at is None:
            self._tracker.first_at = at
        self._last_at = at
        self._events += 1
        self._info_seen = self._info_seen or fields.get("level") == "info"
        if replica not in self._replicas and len(self._replicas) < LIMIT:
            self._replicas[replica] = None
        self._tracker.settle(at)
        if event not in OF_A_START and event not in OF_THE_API:
            self._daemons.heard(at, replica)
        lost = count_of(fields, "lost_lines") or 0
        self._lost_lines += lost
        if lost and self._tracker.active is not None:
            self._tracker.active.lost_lines += lost
        handler = self._handlers.get(event)
        if handler is not None:
            handler(at, replica, fields)
        if event in COUNTED and self._tracker.active is not None:
            self._tracker.active.other_events[event] += 1

    def result(self) -> DatabaseLog | None:
        """Return what was found, or None without any line."""
        first_at, last_at = self._tracker.first_at, self._last_at
        if first_at is None or last_at is None:
            return None
        self._tracker.end()
        missing = [] if self._info_seen else ["lines of level info: without them no recovery can be seen"]
        if self._lost_lines:
            missing.append(f"{self._lost_lines} lines that the daemon could not write")
        if self._unfinished:
            missing.append(
                f"the refresh.finished of {len(self._unfinished)} runs that failed: only their view.failed is there"
            )
        if self._tracker.left_out:
            missing.append(f"{self._tracker.left_out} earlier incidents: only the last {INCIDENTS_KEPT} are kept")
        if self._alerts.outside_beyond:
            missing.append(f"{self._alerts.outside_beyond} alerts outside of incidents: the first {LIMIT} are kept")
        crashes_beyond = self._tracker.outside.crash_count - len(self._tracker.outside.crashes)
        if crashes_beyond:
            missing.append(f"{crashes_beyond} crashes outside of incidents: the first {LIMIT} are kept")
        delivers = self._alerts.delivers
        return DatabaseLog(
            database=self._database,
            first_at=first_at,
            last_at=last_at,
            replicas=tuple(sorted(self._replicas)),
            events=self._events,
            runs=dict(self._runs),
            interval_seconds=self._interval_seconds,
            interval_source=self._interval_source,
            lost_lines=self._lost_lines,
            incidents=tuple(item.build(self._database, last_at, delivers=delivers) for item in self._tracker.done),
            alerts_outside=tuple(self._alerts.outside),
            crashes_outside=tuple(self._tracker.outside.crashes),
            missing=tuple(missing),
        )

    # -- the schedule ----------------------------------------------------------------------------------------

    def _started(self, at: datetime, replica: str, fields: Fields) -> None:
        crash = self._daemons.started(at, replica, fields)
        if crash is not None:
            self._tracker.observations.crash(crash)
        elif self._tracker.active is not None:
            self._tracker.active.other_events[Event.DAEMON_STARTED.value] += 1
        seconds = number_of(fields, "interval_seconds")
        if seconds is not None and seconds > 0:
            self._interval_seconds, self._interval_source = seconds, Event.DAEMON_STARTED.value

    def _leader(self, at: datetime, replica: str, fields: Fields) -> None:
        self._daemons.leads(at, replica)
        self._tracker.leader(at, replica, fields)

    def _note_slot(self, fields: Fields) -> None:
        """Take the smallest distance between two slots as the interval, unless `daemon.started` named it."""
        if self._interval_source == Event.DAEMON_STARTED.value:
            return
        slot = moment_of(fields, "scheduled_at")
        if slot is None:
            return
        if self._last_slot is not None:
            apart = abs((slot - self._last_slot).total_seconds())
            if apart > 0 and (self._interval_source == "default" or apart < self._interval_seconds):
                self._interval_seconds, self._interval_source = apart, "slots"
        self._last_slot = slot

    # -- runs ------------------------------------------------------------------------------------------------

    def _finished(self, at: datetime, replica: str, fields: Fields) -> None:
        outcome, reason = text_of(fields, "outcome"), text_of(fields, "reason")
        if outcome not in _OUTCOMES:
            return
        self._note_slot(fields)
        self._runs[outcome] += 1
        self._tracker.pauses.ran(at, fields)
        if reason not in UNREACHABLE and self._streaks:
            self._streaks = {key: count for key, count in self._streaks.items() if key[0] != replica}
        if outcome in _BAD:
            self._failed(at, replica, outcome, reason, fields)
        elif self._tracker.builder is not None:
            self._tracker.builder.run(outcome)
        if outcome == Outcome.OK:
            if fields.get("level") == "debug" and len(self._quiet_runs) < LIMIT:
                self._quiet_runs[replica] += 1
            self._tracker.ok(at, refreshed_views(fields))

    def _summary(self, at: datetime, replica: str, fields: Fields) -> None:
        """Count successful runs without a line of their own."""
        count = max(0, (count_of(fields, "runs") or 0) - self._quiet_runs.pop(replica, 0))
        self._runs[Outcome.OK.value] += count
        if self._tracker.builder is not None:
            self._tracker.builder.run(Outcome.OK.value, count)
        views = refreshed_views(fields)
        if views is not None:
            self._tracker.ok(at, views)

    def _failed(self, at: datetime, replica: str, outcome: str, reason: str | None, fields: Fields) -> None:
        began = moment_of(fields, "started_at")
        builder = self._tracker.begin(min(at, began) if began else at, f"{Event.REFRESH_FINISHED.value} {outcome}")
        self._unfinished.pop(text_of(fields, "run_id") or "", None)
        builder.begun_by(began, f"{Event.REFRESH_FINISHED.value} {outcome}")
        builder.run(outcome)
        if reason in _REASONS:
            builder.reasons[str(reason)] += 1
        builder.errors.add(at, Event.REFRESH_FINISHED.value, fields)
        views = fields.get("views")
        if not isinstance(views, list):
            views = []
            builder.add_gap("the views of a run: its line names none")
        failed = False
        for result in views[:LIMIT]:
            view = text_of(result, "view") if isinstance(result, dict) else None
            if view is None:
                continue
            if result.get("success") is True:
                self._tracker.fresh(at, view)
                self._tracker.failing.refreshed([view])
                continue
            self._tracker.failing.add(view)
            failed = True
            builder.touch(view)
            why = text_of(result, "reason")
            if why in _REASONS and reason is None:
                builder.reasons[str(why)] += 1
            builder.errors.add(at, Event.REFRESH_FINISHED.value, {"run_id": fields.get("run_id"), **result}, view)
        if not failed:
            self._tracker.failing.add(None)
        self._tracker.expect_fresh(builder)
        if reason in UNREACHABLE:
            self._tracker.gone(builder, replica, None)

    def _skipped(self, at: datetime, replica: str, fields: Fields) -> None:
        reason, repeated = text_of(fields, "reason"), count_of(fields, "repeated") or 1
        if reason not in _REASONS:
            return
        self._note_slot(fields)
        if reason == Reason.PAUSED:
            self._tracker.slot_paused(at)
        key = (replica, str(reason))
        before = self._streaks.get(key, 0)
        new = repeated - before if repeated > before else 1
        if len(self._streaks) < 10 * LIMIT or key in self._streaks:
            self._streaks[key] = repeated
        if reason in UNREACHABLE:
            new = 1  # database.restored counts the slots between two such lines
            if not self._tracker.is_gone(replica):
                began_with = f"{Event.REFRESH_SKIPPED.value} {reason}"
                self._tracker.gone(self._tracker.begin(at, began_with), replica, None)
        self._runs[Outcome.SKIPPED.value] += new
        if self._tracker.active is not None:
            self._tracker.active.skipped[str(reason)] += new

    def _retry(self, at: datetime, replica: str, fields: Fields) -> None:
        self._tracker.observations.retries += 1
        self._tracker.observations.errors.add(at, Event.REFRESH_RETRY.value, fields)

    def _view_failed(self, at: datetime, replica: str, fields: Fields) -> None:
        """Begin an incident: the run's own line comes next, but may be lost."""
        run_id, view = text_of(fields, "run_id"), text_of(fields, "view")
        builder = self._tracker.begin(at, Event.VIEW_FAILED.value)
        self._tracker.failing.add(view)
        if view is not None:
            builder.touch(view)
        builder.errors.add(at, Event.VIEW_FAILED.value, fields, view)
        if run_id is not None and len(self._unfinished) < LIMIT:
            self._unfinished[run_id] = None

    def _delivery_failed(self, at: datetime, replica: str, fields: Fields) -> None:
        if not self._alerts.delivery_failed(at, fields) and self._tracker.active is not None:
            self._tracker.active.other_events[Event.ALERT_DELIVERY_FAILED.value] += 1
