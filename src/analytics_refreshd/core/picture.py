"""The picture of the daemon that HTTP and metrics read: plain values, made by `app.memory` at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import AlertRecord
from analytics_refreshd.core.model import Delta, LeaderInfo, Limits, Pause, Progress, Rates, Role, Run
from analytics_refreshd.core.staleness import Age


@dataclass(frozen=True, slots=True)
class ViewPoint:
    """One past run of one view: for sparklines and medians."""

    run_id: UUID
    started_at: datetime
    success: bool
    duration_seconds: float | None
    rows: int | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ViewState:
    """One view as the daemon knows it now; what metrics, page and status.json show."""

    view: str
    age: Age | None
    rows: int | None
    size_bytes: int | None
    last: Run | None
    recent: tuple[ViewPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A consistent picture of the whole daemon at `taken_at`, from memory; HTTP and metrics read nothing else.

    `taken_at`, `next_run_at` and `config_refused_at` are by the daemon's clock, `server_now` is the first by the
    server's. Pauses, alerts, runs and `database_down_since` are by the server's, which may be hours away: compare like
    with like.

    Ages are those of the evaluation at `evaluated_monotonic`; `observe.reading` adds the time since. `delivery` is each
    receiver's last delivery or failure in words, by name; empty or None where there is no receiver.
    """

    database: str
    replica: str
    version: str
    taken_at: datetime
    taken_monotonic: float
    server_now: datetime
    role: Role
    limits: Limits
    mode: str = "plain"
    isolation: str = "cycle"
    views: tuple[ViewState, ...] = ()
    runs: tuple[Run, ...] = ()
    alerts: tuple[AlertRecord, ...] = ()
    delivery: Mapping[str, str] | None = None
    rates: Rates | None = None
    pause: Pause | None = None
    leader: LeaderInfo | None = None
    progress: Progress | None = None
    next_run_at: datetime | None = None
    database_up: bool = False
    database_down_since: datetime | None = None
    database_error: str | None = None
    evaluated_monotonic: float | None = None
    scheduler_seen_monotonic: float | None = None
    run_deadline_monotonic: float | None = None
    history_pending: int = 0
    history_available: bool = True
    delta: Delta | None = None
    problems: tuple[str, ...] = ()
    config_refused_at: datetime | None = None
    log_lines_lost: int = 0


__all__ = ["ServiceState", "ViewPoint", "ViewState"]
