"""What the daemon knows at this moment, shared by its threads; metrics, page and probes read only this."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import AlertKey, AlertRecord
from analytics_refreshd.core.leadership import Leadership
from analytics_refreshd.core.model import (
    DatabaseStatus,
    Delta,
    LeaderInfo,
    Limits,
    Outcome,
    Pause,
    Progress,
    Rates,
    Role,
    Run,
    ViewResult,
)
from analytics_refreshd.core.picture import ServiceState, ViewPoint, ViewState
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.core.staleness import Age

_KEPT_RUNS = 1500
_POINTS = 60


@dataclass(frozen=True, slots=True)
class Identity:
    """What never changes while the process lives."""

    database: str
    replica: str
    version: str


@dataclass(slots=True)
class Facts:
    """Everything that changes. Guarded by `Memory`'s lock."""

    views: tuple[str, ...]
    limits: Limits
    isolation: str
    leadership: Leadership = field(default_factory=Leadership)
    status: DatabaseStatus | None = None
    ages: Mapping[str, Age] | None = None
    evaluated_monotonic: float | None = None
    rates: Rates | None = None
    pause: Pause | None = None
    leader: LeaderInfo | None = None
    progress: Progress | None = None
    delta: Delta | None = None
    next_run_at: datetime | None = None
    scheduler_seen_monotonic: float | None = None
    main_seen_monotonic: float | None = None
    run_deadline_monotonic: float | None = None
    down_since: datetime | None = None
    last_outage: tuple[datetime, datetime] | None = None
    down_error: str | None = None
    ever_up: bool = False
    history_pending: int = 0
    history_available: bool = True
    leaderless_since: datetime | None = None
    leaderless_reason: str | None = None
    problems: tuple[str, ...] = ()
    election_problem: str | None = None
    delivery: Mapping[str, str] | None = None
    draining: bool = False
    config_refused_at: datetime | None = None
    log_lines_lost: int = 0
    owns_missed_slots: bool = True
    """Whether slots missed while the database is away are this replica's to record: it led last, or nobody did."""

    @property
    def contract_problems(self) -> tuple[str, ...]:
        """What the last run and the election found that is not as the contract says; each mends its own finding."""
        return (*self.problems, *([self.election_problem] if self.election_problem else []))


class Memory:
    """Thread-safe facts. Writers call `update`; readers take a consistent `state`."""

    def __init__(
        self, identity: Identity, *, views: Sequence[str], limits: Limits, isolation: str, clock: Clock
    ) -> None:
        self.identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._facts = Facts(tuple(views), limits, isolation)
        self._runs: dict[UUID, Run] = {}
        self._alerts: dict[AlertKey, AlertRecord] = {}
        self._own_success: dict[str, datetime] = {}

    def update(self, **changes: object) -> None:
        """Set facts by name."""
        with self._lock:
            for name, value in changes.items():
                setattr(self._facts, name, value)

    def facts(self) -> Facts:
        """A copy of the facts as they are now."""
        with self._lock:
            return replace(self._facts)

    # -- runs ----------------------------------------------------------------------------------------------

    def remember(self, runs: Sequence[Run]) -> None:
        """Add runs, or replace them by a newer picture of themselves; the oldest are forgotten."""
        with self._lock:
            for run in runs:
                known = self._runs.get(run.run_id)
                if known is not None and known.outcome not in (None, Outcome.UNKNOWN) and run.outcome is None:
                    continue
                if known is not None and known.blockers and not run.blockers:
                    run = replace(run, blockers=known.blockers)
                self._runs[run.run_id] = run
            ordered = sorted(self._runs.values(), key=lambda run: run.started_at, reverse=True)[:_KEPT_RUNS]
            self._runs = {run.run_id: run for run in ordered}

    def runs(self) -> tuple[Run, ...]:
        """The runs known, newest first."""
        with self._lock:
            return tuple(self._runs.values())

    def succeeded(self, results: Sequence[ViewResult], at: datetime) -> None:
        """Note our own successes at the server's time: all there is where nothing can be stored."""
        with self._lock:
            for result in results:
                if result.success:
                    self._own_success[result.view] = at

    def own_success(self, view: str) -> datetime | None:
        """When this process last refreshed `view`, at the server's time."""
        with self._lock:
            return self._own_success.get(view)

    def server_now(self) -> datetime:
        """The server's time as last read, carried on by the monotonic clock; our own where none was read.

        What is judged against the server's time is dated by this: our own clock may be hours off, and may step.
        """
        with self._lock:
            status, read_at = self._facts.status, self._facts.evaluated_monotonic
        if status is None or read_at is None:
            return self._clock.now()
        return status.server_now + timedelta(seconds=self._clock.monotonic() - read_at)

    def dated(self, run: Run) -> Run:
        """`run`, which begins or has ended at this moment, dated by the server's clock, as history dates what it gets.

        The alert rules hold the runs that only this process knows against the server's time, too.
        """
        now = self.server_now()
        began = now - timedelta(seconds=run.duration_seconds or 0.0)
        return replace(run, started_at=began, finished_at=None if run.finished_at is None else now)

    # -- alerts --------------------------------------------------------------------------------------------

    def alerts(self) -> dict[AlertKey, AlertRecord]:
        """Every alert record by alert and view."""
        with self._lock:
            return dict(self._alerts)

    def set_alerts(self, records: Mapping[AlertKey, AlertRecord]) -> None:
        """Replace the alert records."""
        with self._lock:
            self._alerts = dict(records)

    # -- the picture ---------------------------------------------------------------------------------------

    def role(self) -> Role:
        """This replica's role now, with trust that ran out taken into account."""
        with self._lock:
            facts = self._facts
            if facts.draining:
                return Role.DRAINING
            state = facts.leadership
        if state.role is Role.LEADER and not state.leads(self._clock.monotonic()):
            return Role.STANDBY
        return state.role

    def leads(self) -> bool:
        """Whether this replica may refresh now."""
        return self.role() is Role.LEADER

    def state(self) -> ServiceState:
        """A consistent picture, from memory only."""
        role = self.role()
        now, server_now, monotonic = self._clock.now(), self.server_now(), self._clock.monotonic()
        with self._lock:
            facts = replace(self._facts)
            runs = tuple(self._runs.values())
            alerts = tuple(self._alerts.values())
        return ServiceState(
            database=self.identity.database,
            replica=self.identity.replica,
            version=self.identity.version,
            taken_at=now,
            taken_monotonic=monotonic,
            server_now=server_now,
            role=role,
            limits=facts.limits,
            mode=facts.delta.mode if facts.delta else "plain",
            isolation=facts.isolation,
            views=tuple(self._view(view, facts, runs) for view in facts.views),
            runs=runs,
            alerts=alerts,
            delivery=facts.delivery,
            rates=facts.rates,
            pause=facts.pause,
            leader=facts.leader,
            progress=facts.progress,
            next_run_at=facts.next_run_at,
            database_up=facts.ever_up and facts.down_since is None,
            database_down_since=facts.down_since,
            database_error=facts.down_error,
            evaluated_monotonic=facts.evaluated_monotonic,
            scheduler_seen_monotonic=facts.scheduler_seen_monotonic,
            run_deadline_monotonic=facts.run_deadline_monotonic,
            history_pending=facts.history_pending,
            history_available=facts.history_available,
            delta=facts.delta,
            problems=facts.contract_problems,
            config_refused_at=facts.config_refused_at,
            log_lines_lost=facts.log_lines_lost,
        )

    @staticmethod
    def _view(view: str, facts: Facts, runs: Sequence[Run]) -> ViewState:
        age = (facts.ages or {}).get(view)
        known = next((item for item in facts.status.views if item.view == view), None) if facts.status else None
        points = []
        last = None
        for run in runs:
            result = next((item for item in run.views if item.view == view), None)
            if result is None:
                continue
            last = last or run
            points.append(
                ViewPoint(
                    run.run_id, run.started_at, result.success, result.duration_seconds, result.rows, result.error
                )
            )
            if len(points) == _POINTS:
                break
        rows = next((point.rows for point in points if point.success and point.rows is not None), None)
        if known is not None and known.rows is not None:
            rows = known.rows
        return ViewState(
            view=view,
            age=age,
            rows=rows,
            size_bytes=known.size_bytes if known else None,
            last=last,
            recent=tuple(reversed(points)),
        )
