"""What the daemon needs of the world, as protocols. Adapters implement them; `app.service` connects them.

Every method that talks to the database raises `core.errors.DatabaseFault`, and nothing else, when it fails.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import AlertKey, AlertRecord
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.leadership import LockReading
from analytics_refreshd.core.metrics import Metric
from analytics_refreshd.core.model import (
    DatabaseStatus,
    Delta,
    LeaderInfo,
    LockSample,
    Outcome,
    Pause,
    Progress,
    Rates,
    Reason,
    Run,
    ViewReport,
)
from analytics_refreshd.core.snapshot import Snapshot


class Clock(Protocol):
    """The wall clock and the monotonic one, read at the edge only."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""


class EventLog(Protocol):
    """Writes one JSON line per event; never raises."""

    def emit(self, event: Event, *, level: str = "info", **fields: object) -> None:
        """Log `event` with `fields`; level is debug, info, warning or error."""


class Refresher(Protocol):
    """Calls the refresh function. Used by one thread; `cancel` and `close` by any.

    `cancelled()` is asked once `cancel` reaches the call: true where it was called before, when there was nothing yet
    to cancel. The call ends with DatabaseFault of class cancelled then, and touches no view.
    """

    def refresh(self, run_id: UUID, on_started: Callable[[int], None], cancelled: Callable[[], bool]) -> "RefreshReply":
        """Refresh every view in one fenced transaction (or one per view), within the time limits.

        `on_started(pid)` is called with each backend's pid before its first view. Raises DatabaseFault, also with
        reason OVERLAP when another session holds the fence.
        """

    def rebuild(self, run_id: UUID, on_started: Callable[[], None], cancelled: Callable[[], bool]) -> str | None:
        """Where the incremental mode's rollups need building, build them in committed steps; says why, else None.

        Takes as long as the table is large, whatever the refresh's deadline; `cancel` and `close` end it, and what was
        built stays. `on_started()` is called before the first step. Raises DatabaseFault.
        """

    def cancel(self) -> None:
        """Cancel the running statement on the server, within seconds; harmless when nothing runs."""

    def close(self) -> None:
        """Drop the connections, so that the next refresh connects anew."""


@dataclass(frozen=True, slots=True)
class RefreshReply:
    """What came back from a refresh: the rows, the wall time, and notices counted (at most ten kept).

    `fold_seconds` is the incremental mode's fold before the views; None in plain mode, and where it failed.
    `rebuild_reason` says why that fold rebuilt the rollups, where what asked for it came after `Refresher.rebuild`.
    """

    reports: tuple[ViewReport, ...]
    duration_seconds: float
    notices: tuple[str, ...] = ()
    notice_count: int = 0
    fold_seconds: float | None = None
    rebuild_reason: str | None = None


class Leader(Protocol):
    """The leader's session: lock, heartbeat, and a watch over the refreshing backend's locks. One thread uses it."""

    def acquire(self) -> LockReading:
        """Connect if needed, refuse a standby or a transaction pooler, and try the leader lock once."""

    def heartbeat(self) -> LockReading:
        """Read in pg_locks whether this session still holds the lock, and whether the server is in recovery."""

    def watch(self, pids: Sequence[int], views: Sequence[str], at_seconds: float) -> LockSample:
        """Which of `views` the backends hold or wait for an EXCLUSIVE lock on, and whom else they wait for."""

    def other_holder(self) -> LeaderInfo | None:
        """Return who else holds the leader lock; None where nobody does."""

    def release(self) -> None:
        """Give the lock back and close the session."""


class StatusReader(Protocol):
    """Reads what the database knows about itself, on the status connection."""

    def read(self) -> DatabaseStatus:
        """Call the status function and read our own records beside it."""

    def rates(self) -> Rates:
        """Success rate and p95 of the last 24 hours, from the hourly view."""

    def pause(self, wait_seconds: float = 15.0) -> Pause | None:
        """The pause in force, if any; gives up after `wait_seconds` where other work holds the connection."""

    def leader(self) -> LeaderInfo | None:
        """Who holds the leader lock."""

    def progress(self) -> Progress | None:
        """The refresh under way anywhere on this database, with its blocker."""

    def delta(self) -> Delta:
        """The incremental mode's state."""


class History(Protocol):
    """Runs and their views, on the status connection; without our schema nothing is stored (`available` False)."""

    @property
    def available(self) -> bool:
        """Whether our schema is there; looked up anew after each reconnect."""

    def begin(self, run: Run) -> None:
        """Write the running row."""

    def finish(self, run: Run) -> None:
        """Write the finished run and its views; also for a run whose `begin` never arrived. Idempotent by run_id."""

    def recent(
        self,
        limit: int,
        *,
        since: datetime | None = None,
        view: str | None = None,
        outcomes: Sequence[Outcome] = (),
    ) -> list[Run]:
        """Runs, newest first, with their views; `view` keeps that view's results only."""

    def close_abandoned(self) -> int:
        """Mark running rows whose writing session is gone as unknown, reason abandoned; says how many."""

    def prune(self, retention: timedelta, batch: int) -> int:
        """Delete at most `batch` runs older than `retention`; says how many."""


class AlertStore(Protocol):
    """Alert records, so that what fires survives a restart and a change of leader."""

    def load(self) -> list[AlertRecord]:
        """Every record."""

    def save(self, changed: Sequence[AlertRecord], removed: Sequence[AlertKey]) -> None:
        """Write `changed` and delete the records of the keys `removed`, in one transaction."""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One message that a receiver accepted; `alert_key` and `status` as `notify.messages` makes them."""

    receiver: str
    alert_key: str
    status: str
    sent_at: datetime


class DeliveryStore(Protocol):
    """What was delivered to whom, so that a new leader tells nobody twice. Used by several threads."""

    def load(self) -> list[DeliveryRecord]:
        """Every record; none where our schema is not there."""

    def save(self, sent: Sequence[DeliveryRecord]) -> None:
        """Insert records, or move `sent_at` of known ones; those of alerts long over may be forgotten."""


class Notifier(Protocol):
    """Delivers alerts to the configured receivers; returns at once, never raises."""

    def alerts(self, records: Sequence[AlertRecord], *, inhibited: Sequence[AlertRecord]) -> None:
        """The whole of what fires or was resolved lately; called every evaluation by whoever has something to tell."""

    def invalidate(self) -> None:
        """Read the deliveries again before the next one: another replica may have delivered."""

    def cycle(self, phase: str, run: Run | None) -> None:
        """A cycle's `start`, `success` or `fail`, for heartbeat receivers."""

    def status(self) -> Mapping[str, str]:
        """Each receiver's last delivery or failure in words, by name."""

    def stop(self, deadline_seconds: float) -> None:
        """Deliver what waits, within the deadline, and end the threads."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How long one query took, in seconds; None with `error`, one redacted sentence, where it gave no answer."""

    endpoint: str
    seconds: float | None
    error: str | None


class Probes(Protocol):
    """Times queries of the catalogue."""

    endpoints: tuple[str, ...]

    def run(self, budget_seconds: float, now: datetime) -> Sequence[ProbeResult]:
        """Time each query once, read-only, within the budget for all of them together."""


class Health(Protocol):
    """What the HTTP server asks for; every answer comes from memory."""

    def snapshot(self) -> Snapshot:
        """The state at this moment."""

    def live(self) -> tuple[bool, str]:
        """Whether the process can do its work at all, and if not why; never depends on the database."""

    def ready(self) -> tuple[bool, str]:
        """Whether this replica can serve now, and if not why."""


class Metrics(Protocol):
    """Counters and gauges as plain values; every method is cheap and never raises.

    Ages, next run, role, thresholds, alerts and the like are read from the `Snapshot` at scrape.
    """

    def count(self, metric: Metric, **labels: str) -> None:
        """Add one to a counter of `core.metrics`; `labels` has a value for each of its labels."""

    def run_finished(self, run: Run) -> None:
        """Count a run, observe its views' durations, set the last-duration, rows and success gauges."""

    def slot_skipped(self, reason: Reason) -> None:
        """Count a skipped slot."""

    def cycle_finished(self, seconds: float) -> None:
        """Observe a whole cycle, bookkeeping included."""

    def probed(self, endpoint: str, seconds: float | None) -> None:
        """Observe a catalogue query's probe; None where it had no answer, which ends what the last one showed."""

    def config_reloaded(self, success: bool) -> None:
        """Set whether the last reload succeeded."""
