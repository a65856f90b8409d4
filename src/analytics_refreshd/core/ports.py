"""What the daemon needs of the world, as protocols. Adapters implement them; `app.service` connects them.

Every method that talks to the database raises `core.errors.DatabaseFault`, and nothing else, when it fails.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import AlertKey, AlertRecord
from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.delta import Delta, Waiting
from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.hour_series import HourCell
from analytics_refreshd.core.leadership import LockReading
from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.model import (
    DatabaseStatus,
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
from analytics_refreshd.core.retention import LastRuns
from analytics_refreshd.core.snapshot import Snapshot

Views = Sequence[str] | None
"""Some of the configured views; None for all."""


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

    def refresh(
        self, run_id: UUID, on_started: Callable[[int], None], cancelled: Callable[[], bool], views: Views = None
    ) -> "RefreshReply":
        """Refresh every view within the time limits, or `views` alone. One fenced transaction does it, or one per view.

        `on_started(pid)` is called with each backend's pid before its first view. Raises DatabaseFault, also with
        reason OVERLAP when another session holds the fence.
        """

    def rebuild(self, run_id: UUID, on_started: Callable[[], None], cancelled: Callable[[], bool]) -> str | None:
        """Build the incremental mode's rollups if necessary. Returns why, else None. Its steps are committed.

        Takes as long as the table is large, whatever the refresh's deadline; `cancel` and `close` end it, and what was
        built stays. `on_started()` is called before the first step. Raises DatabaseFault.
        """

    def cancel(self) -> None:
        """Cancel the running statement on the server. Harmless when nothing runs."""

    def close(self) -> None:
        """Drop the connections, so that the next refresh makes new ones."""


@dataclass(frozen=True, slots=True)
class RefreshReply:
    """What came back from a refresh: the rows, the wall time, and notices counted (at most ten kept).

    `fold_seconds` is the incremental mode's fold before the views; None in plain mode, and where it failed.
    `rebuild_reason` says why that fold rebuilt the rollups, where what asked for it came after `Refresher.rebuild`;
    `rows_folded` how many changes it took. `cost` is the whole refresh's, None where a part of it is not known.
    """

    reports: tuple[ViewReport, ...]
    duration_seconds: float
    notices: tuple[str, ...] = ()
    notice_count: int = 0
    fold_seconds: float | None = None
    rebuild_reason: str | None = None
    rows_folded: int | None = None
    cost: Cost | None = None


class Leader(Protocol):
    """The leader's session: lock, heartbeat, and a watch over the refreshing backend's locks. One thread uses it."""

    def acquire(self) -> LockReading:
        """Try the leader lock once. Refuses transaction poolers, and servers that may not be written to."""

    def heartbeat(self) -> LockReading:
        """Read in pg_locks whether this session still holds the lock. Refuses as `acquire` does."""

    def watch(self, pids: Sequence[int], views: Sequence[str], at_seconds: float) -> LockSample:
        """Sample the EXCLUSIVE locks on `views` of the backends. Names who blocks them."""

    def other_holder(self) -> LeaderInfo | None:
        """Return who else holds the leader lock; None where nobody does."""

    def release(self) -> None:
        """Give the lock back and close the session."""


class StatusReader(Protocol):
    """Reads what the database knows about itself, on the status connection."""

    def read(self) -> DatabaseStatus:
        """Call the status function and read our own records beside it."""

    def rates(self) -> Rates:
        """Read success rate and p95 of the last 24 hours."""

    def pause(self, wait_seconds: float = 15.0) -> Pause | None:
        """Read the pause in force. Gives up after `wait_seconds` where other work holds the connection."""

    def leader(self) -> LeaderInfo | None:
        """Who holds the leader lock."""

    def progress(self) -> Progress | None:
        """The refresh under way anywhere on this database, with its blocker."""

    def installation_problems(self) -> tuple[str, ...]:
        """What is wrong with what is installed, a sentence each."""

    def delta(self, waiting: Waiting | None = None) -> Delta:
        """The incremental mode's state. `waiting` is that of the last reading."""

    def retention(self) -> LastRuns | None:
        """Read the last runs of `retain`; None where none can be recorded."""

    def reconnect(self) -> None:
        """Use a new connection from now on."""


class HourCells(Protocol):
    """Reads the action types' hours from the hourly view."""

    def read(self, since: datetime, until: datetime) -> list[HourCell]:
        """Read the busiest types' hours from `since` to before `until`. Raises DatabaseFault."""


class History(Protocol):
    """Stores runs and their views. Without our schema nothing is stored (`available` False)."""

    @property
    def available(self) -> bool:
        """Whether our schema is there; looked up again after each reconnect."""

    def begin(self, run: Run) -> None:
        """Write the running row."""

    def finish(self, run: Run) -> None:
        """Write the finished run and its views. `begin` may never have arrived. Idempotent by run_id."""

    def recent(
        self,
        limit: int,
        *,
        since: datetime | None = None,
        view: str | None = None,
        outcomes: Sequence[Outcome] = (),
    ) -> list[Run]:
        """Runs, newest first, with their views; `view` keeps that view's results only."""

    def sizes(self, *, measure: bool) -> Sequence[SizeSample]:
        """The database's sizes of two weeks, oldest first. `measure`: note today's, at most once an hour."""

    def close_abandoned(self) -> int:
        """Mark running rows whose session is gone as unknown, reason abandoned. Returns how many."""

    def prune(self, retention: timedelta, batch: int) -> int:
        """Delete runs older than `retention`, and those that say nothing. Of each `batch` at most; returns the most."""


class AlertStore(Protocol):
    """Stores alert records. They survive restarts and changes of leader."""

    def load(self) -> list[AlertRecord]:
        """Every record."""

    def save(self, changed: Sequence[AlertRecord], removed: Sequence[AlertKey]) -> None:
        """Write `changed` and delete `removed`, in one transaction."""

    def lead_over(self, epoch: int) -> bool:
        """Return whether the leader of `epoch` has lost the lock."""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One message that a receiver accepted. `notify.messages` makes `alert_key` and `status`."""

    receiver: str
    alert_key: str
    status: str
    sent_at: datetime


class DeliveryStore(Protocol):
    """Stores what was delivered to whom. A new leader then tells nobody twice. Used by several threads."""

    def load(self) -> list[DeliveryRecord]:
        """Every record; none where our schema is not there."""

    def save(self, sent: Sequence[DeliveryRecord]) -> None:
        """Insert records, or move `sent_at` of known ones. Those of alerts long over may be dropped."""


class Notifier(Protocol):
    """Delivers alerts to the configured receivers; returns at once, never raises."""

    def alerts(self, records: Sequence[AlertRecord], *, inhibited: Sequence[AlertRecord]) -> None:
        """Take all that fires or was resolved lately. Called at every evaluation."""

    def invalidate(self) -> None:
        """Read the deliveries again before the next one: another replica may have delivered."""

    def heartbeat(self, phase: str, run: Run | None) -> None:
        """A cycle's `start`, `success` or `fail`, for heartbeat receivers."""

    def status(self) -> Mapping[str, str]:
        """Each receiver's last delivery or failure in words, by name."""

    def stop(self, deadline_seconds: float) -> None:
        """Deliver what waits, within the deadline, and end the threads."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How long one query took, in seconds. None with `error`, a redacted sentence."""

    endpoint: str
    seconds: float | None
    error: str | None


class Probes(Protocol):
    """Times queries of the catalogue."""

    endpoints: tuple[str, ...]

    def run(self, budget_seconds: float, now: datetime) -> Sequence[ProbeResult]:
        """Time each query once, read-only, within the common budget."""


class Health(Protocol):
    """What the HTTP server asks for; every answer comes from memory."""

    def snapshot(self) -> Snapshot:
        """The state at this moment."""

    def live(self) -> tuple[bool, str]:
        """Tell whether the process can work, and if not why. Independent of the database."""

    def ready(self) -> tuple[bool, str]:
        """Whether this replica can serve now, and if not why."""


class Metrics(Protocol):
    """Counters and gauges as plain values. Every method is cheap and never raises.

    Ages, next run, role, thresholds, alerts and the like are read from the `Snapshot` at scrape.
    """

    def count(self, metric: Metric, **labels: str) -> None:
        """Add one to a counter of `core.metrics`, with its labels' values."""

    def run_finished(self, run: Run) -> None:
        """Count a run, and observe its views' durations and outcomes."""

    def slot_skipped(self, reason: Reason) -> None:
        """Count a skipped slot."""

    def cycle_finished(self, seconds: float) -> None:
        """Observe a whole cycle, bookkeeping included."""

    def probed(self, endpoint: str, seconds: float | None) -> None:
        """Observe a catalogue query's probe. None: it had no answer, and the last figure ends."""

    def config_reloaded(self, success: bool) -> None:
        """Set whether the last reload succeeded."""
