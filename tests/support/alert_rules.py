"""Snapshots and runs for the tests of the alert rules."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertKey, AlertRecord, AlertState, Condition, Severity
from analytics_refreshd.core.alerts.rules import conditions
from analytics_refreshd.core.leadership import Leadership
from analytics_refreshd.core.model import (
    Blocker,
    DatabaseStatus,
    Limits,
    Origin,
    Outcome,
    Progress,
    Reason,
    Role,
    Run,
    ViewResult,
    ViewStatus,
)
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.state import State

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
_numbers = itertools.count(1)


def ago(seconds: float) -> datetime:
    """A moment before NOW."""
    return NOW - timedelta(seconds=seconds)


def seen(
    *,
    views: Sequence[str] = ("a",),
    ages: Sequence[ViewStatus] | None = None,
    firing: Collection[AlertKey] = (),
    blocker: Blocker | None = None,
    now: datetime = NOW,
    **changes: object,
) -> Snapshot:
    """What the rules look at, by default at NOW: a leader of one fresh view `a`; changes are the state's."""
    state = State(
        database="shop",
        views=tuple(views),
        limits=Limits(),
        isolation="cycle",
        version="0",
        status=DatabaseStatus(now, tuple(aged(10.0, view) for view in views) if ages is None else tuple(ages)),
        evaluated_monotonic=0.0,
        database_reached=True,
        leadership=Leadership(Role.LEADER, 1e9, 1),
        alerts={key: AlertRecord(*key, AlertState.FIRING, Severity.WARNING, ago(60)) for key in firing},
        progress=Progress(UUID(int=0), ago(60), 60.0, blocker=blocker) if blocker is not None else None,
    )
    return Snapshot(replace(state, **changes), now, 0.0)  # type: ignore[arg-type]


def aged(seconds: float | None, view: str = "a") -> ViewStatus:
    """A view of that age, as the database tells it; None: it knows of no refresh."""
    return ViewStatus(view, claimed_at=None if seconds is None else ago(seconds))


def run(
    outcome: Outcome | None = Outcome.OK,
    reason: Reason | None = None,
    *,
    seconds: float | None = 0.5,
    started_at: datetime = NOW - timedelta(seconds=30),
    sqlstate: str | None = None,
    **views: Reason | None,
) -> Run:
    """A run; `a=None` is a success of view a, `a=Reason.X` its failure."""
    results = tuple(
        ViewResult(view, why is None, why, sqlstate=sqlstate, error=None if why is None else f"{view} broke")
        if why
        else ViewResult(view, True, duration_seconds=seconds)
        for view, why in views.items()
    )
    return Run(UUID(int=next(_numbers)), Origin.SCHEDULE, started_at, outcome=outcome, reason=reason, views=results)


def found(now: Snapshot, limits: Limits | None = None) -> dict[AlertKey, Condition]:
    """Every condition by alert and view."""
    limited = replace(now, state=replace(now.state, limits=limits)) if limits is not None else now
    return {(condition.alert, condition.view): condition for condition in conditions(limited)}


def verdicts(alert: Alert, history: Sequence[Run], limits: Limits | None = None) -> list[bool | None]:
    """Whether `alert` on view a fires after each run of `history`, oldest first, with what fired before carried on."""
    firing = False
    answers: list[bool | None] = []
    for number in range(1, len(history) + 1):
        now = seen(runs=tuple(reversed(history[:number])), firing={(alert, "a")} if firing else ())
        holds = found(now, limits)[alert, "a"].holds
        firing = firing if holds is None else holds
        answers.append(holds)
    return answers
