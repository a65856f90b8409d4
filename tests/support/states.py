"""Pictures of a daemon for what only shows them: metrics, page, status.json."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from analytics_refreshd.core.model import (
    VIEWS,
    LeaderInfo,
    Limits,
    Origin,
    Outcome,
    Rates,
    Reason,
    Role,
    Run,
    ViewResult,
)
from analytics_refreshd.core.picture import ServiceState, ViewPoint, ViewState
from analytics_refreshd.core.staleness import Age

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
        outcome, failed, seconds = Outcome.OK, (), 0.3 + number % 13 / 20
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


def view_state(
    view: str,
    runs: Sequence[Run],
    *,
    age_seconds: float | None = 150.0,
    now: datetime = NOW,
    rows: int | None = 12_345,
    doubt: str | None = None,
) -> ViewState:
    """A view of that age, with its part of `runs`."""
    mine = [(run, result) for run in runs for result in run.views if result.view == view]
    points = tuple(
        ViewPoint(run.run_id, run.started_at, result.success, result.duration_seconds, result.rows, result.error)
        for run, result in mine[:60]
    )
    success_at = None if age_seconds is None else now - timedelta(seconds=age_seconds)
    return ViewState(
        view,
        Age(view, age_seconds, success_at, None if age_seconds is None else "record", doubt),
        rows,
        9_876_543,
        mine[0][0] if mine else None,
        points,
    )


def healthy(names: Sequence[str] = VIEWS, /, **changes: object) -> ServiceState:
    """A leader on an ordinary afternoon, with a day of runs behind it."""
    runs = a_day(names)
    state = ServiceState(
        database="orders",
        replica="host-1",
        version="0.1.0",
        taken_at=NOW,
        taken_monotonic=MONOTONIC,
        server_now=NOW,
        role=Role.LEADER,
        limits=Limits(),
        views=tuple(view_state(view, runs) for view in names),
        runs=runs,
        rates=Rates(48_211, 98.63, 0.412, 48_211),
        leader=LeaderInfo("host-1", 4711, NOW - timedelta(days=2)),
        next_run_at=NOW + timedelta(minutes=2, seconds=30),
        database_up=True,
        evaluated_monotonic=MONOTONIC - 5,
        scheduler_seen_monotonic=MONOTONIC - 1,
    )
    return replace(state, **changes)  # type: ignore[arg-type]


class FixedHealth:
    """A `Health` that answers what it was given."""

    def __init__(self, state: ServiceState) -> None:
        self.current = state
        self.live_answer: tuple[bool, str] = (True, "")
        self.ready_answer: tuple[bool, str] = (True, "ready")

    def state(self) -> ServiceState:
        return self.current

    def live(self) -> tuple[bool, str]:
        return self.live_answer

    def ready(self) -> tuple[bool, str]:
        return self.ready_answer
