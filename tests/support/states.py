"""Snapshots of a daemon for what only shows them: metrics, page, status document."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import AlertRecord
from analytics_refreshd.core.leadership import Leadership
from analytics_refreshd.core.model import (
    VIEWS,
    DatabaseStatus,
    LeaderInfo,
    Limits,
    Origin,
    Outcome,
    Rates,
    Reason,
    Role,
    Run,
    ViewResult,
    ViewStatus,
)
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.state import Source, State

NOW = datetime(2026, 3, 1, 14, 7, 30, tzinfo=UTC)
MONOTONIC = 10_000.0


def run_at(
    number: int,
    started_at: datetime,
    views: Sequence[str] = VIEWS,
    *,
    outcome: Outcome = Outcome.OK,
    failed: Sequence[str] = (),
    seconds: float = 0.42,
    error: str = "division by zero",
    reason: Reason = Reason.DATA,
) -> Run:
    """A run of a schedule; the views in `failed` failed."""
    results = tuple(
        ViewResult(view, False, reason, "22012", error, duration_seconds=0.1)
        if view in failed
        else ViewResult(view, True, rows=1000 + number, duration_seconds=seconds)
        for view in views
    )
    return Run(
        UUID(int=number),
        Origin.SCHEDULE,
        started_at,
        scheduled_at=started_at,
        finished_at=started_at + timedelta(seconds=seconds),
        outcome=outcome,
        reason=reason if failed else None,
        duration_seconds=seconds * len(views),
        lateness_seconds=0.01,
        replica="host-1",
        leader_epoch=7,
        views=results if outcome is not Outcome.SKIPPED else (),
    )


def a_day(views: Sequence[str] = VIEWS, now: datetime = NOW) -> tuple[Run, ...]:
    """288 runs, newest first, of every outcome: mostly ok, some slow, partial, failed, skipped, and an hour of none."""
    slot = now.replace(minute=now.minute // 5 * 5, second=0)
    runs = []
    for number in range(288):
        at = slot - timedelta(minutes=5 * number)
        if 100 <= number < 112:
            continue
        failed: tuple[str, ...] = ()
        outcome, seconds = Outcome.OK, 0.3 + number % 13 / 20
        if number % 41 == 5:
            seconds = 7.5
        elif number % 67 == 9:
            outcome, failed = Outcome.PARTIAL, tuple(views[-1:])
        elif 60 <= number < 64:
            outcome, failed = Outcome.FAILED, tuple(views)
        elif number == 150:
            outcome = Outcome.SKIPPED
        runs.append(run_at(number, at, views, outcome=outcome, failed=failed, seconds=seconds))
    return tuple(runs)


def view_state(view: str, *, age_seconds: float | None = 150.0, rows: int | None = 12_345) -> ViewStatus:
    """What the database says of a view that was that old when last read."""
    success_at = None if age_seconds is None else NOW - timedelta(seconds=age_seconds)
    return ViewStatus(view, rows, 9_876_543, claimed_at=success_at, recorded_at=success_at)


def healthy(
    names: Sequence[str] = VIEWS,
    /,
    *,
    views: Sequence[ViewStatus] | None = None,
    runs: Sequence[Run] | None = None,
    alerts: Sequence[AlertRecord] = (),
    role: Role = Role.LEADER,
    database_up: bool = True,
    evaluated_monotonic: float | None = MONOTONIC - 5,
    **changes: object,
) -> Snapshot:
    """A leader on an ordinary afternoon with a day of runs behind it, at NOW and MONOTONIC, its state changed."""
    views = [view_state(name) for name in names] if views is None else views
    state = State(
        database="orders",
        views=tuple(view.view for view in views),
        limits=Limits(),
        isolation="cycle",
        version="0.1.0",
        replica="host-1",
        leadership=Leadership(role, MONOTONIC + 1e9, 7),
        draining=role is Role.DRAINING,
        runs=a_day(names) if runs is None else tuple(runs),
        alerts={(record.alert, record.view): record for record in alerts},
        status=None if evaluated_monotonic is None else _read(views, MONOTONIC - evaluated_monotonic),
        rates=Rates(48_211, 98.63, 0.412, 48_211),
        leader=LeaderInfo("host-1", 4711, NOW - timedelta(days=2)),
        next_run_at=NOW + timedelta(minutes=2, seconds=30),
        database_reached=database_up,
        evaluated_monotonic=evaluated_monotonic,
        scheduler_seen_monotonic=MONOTONIC - 1,
        history_pending=0,
    )
    return Snapshot(replace(state, **changes), NOW, MONOTONIC)  # type: ignore[arg-type]


def _read(views: Sequence[ViewStatus], seconds_ago: float) -> DatabaseStatus:
    """The status as read that long ago, when the views were as old as they say."""
    ago = timedelta(seconds=seconds_ago)

    def then(at: datetime | None) -> datetime | None:
        return None if at is None else at - ago

    moved = (replace(view, claimed_at=then(view.claimed_at), recorded_at=then(view.recorded_at)) for view in views)
    return DatabaseStatus(NOW - ago, tuple(moved), server="app at db1.example.com:5432")


def of_database(snapshot: Snapshot, **changes: object) -> Snapshot:
    """What `status` would read: nothing that only a process knows."""
    state = replace(
        snapshot.state,
        source=Source.DATABASE,
        replica=None,
        history_pending=None,
        next_run_at=None,
        leadership=Leadership(),
        scheduler_seen_monotonic=None,
    )
    return replace(snapshot, state=replace(state, **changes))  # type: ignore[arg-type]


def later(snapshot: Snapshot, seconds: float) -> Snapshot:
    """The same state, so many seconds later."""
    return replace(snapshot, now=snapshot.now + timedelta(seconds=seconds), monotonic=snapshot.monotonic + seconds)
