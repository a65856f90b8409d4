"""Situations and runs for the tests of the alert rules."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import Alert, Condition
from analytics_refreshd.core.alerts.rules import Situation, conditions
from analytics_refreshd.core.model import Limits, Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.staleness import Age

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
_numbers = itertools.count(1)


def ago(seconds: float) -> datetime:
    """A moment before NOW."""
    return NOW - timedelta(seconds=seconds)


def situation(**changes: object) -> Situation:
    """A quiet database with one fresh view `a`."""
    quiet = Situation("shop", NOW, ("a",), ages={"a": aged(10.0), "b": aged(10.0, "b")})
    return replace(quiet, **changes)  # type: ignore[arg-type]


def aged(seconds: float | None, view: str = "a", doubt: str | None = None) -> Age:
    """An age as the daemon knows it."""
    return Age(view, seconds, None if seconds is None else ago(seconds), "function", doubt)


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


def found(seen: Situation, limits: Limits | None = None) -> dict[tuple[Alert, str], Condition]:
    """Every condition by alert and view."""
    return {(condition.alert, condition.view): condition for condition in conditions(seen, limits or Limits())}


def verdicts(alert: Alert, history: Sequence[Run], limits: Limits | None = None) -> list[bool | None]:
    """Whether `alert` on view a fires after each run of `history`, oldest first, with what fired before carried on."""
    firing = False
    seen: list[bool | None] = []
    for number in range(1, len(history) + 1):
        now = situation(runs=list(reversed(history[:number])), firing={(alert, "a")} if firing else frozenset())
        holds = found(now, limits)[alert, "a"].holds
        firing = firing if holds is None else holds
        seen.append(holds)
    return seen
