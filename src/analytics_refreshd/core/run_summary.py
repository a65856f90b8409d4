"""Sum up the runs that need no log line of their own.

Where views have intervals of their own, a day has thousands of runs. One that went as runs before it did is counted in
a summary, unless it is the first of all views in five minutes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import takewhile
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertState
from analytics_refreshd.core.model import Origin, Outcome, Run, ViewResult
from analytics_refreshd.core.schedule import slot_at
from analytics_refreshd.core.state import State

SUMMARY_EVERY = timedelta(minutes=15)
"""With a line for a full run in each five minutes, as at the default interval, a day stays under 400 lines."""
_FULL_RUN_EVERY = timedelta(minutes=5)


def stands_out(run: Run, state: State) -> bool:
    """Return whether a run always has a log line of its own.

    Of the runs of all views the first in five minutes has one, whatever the intervals are. `state` has the runs before.
    """
    if not state.limits.view_interval_seconds or not _ordinary(run) or run.attempts > 1:
        return True
    results, views = {result.view for result in run.views}, set(state.views)
    if not results < views and not any(_full(other, views) for other in _in_same_minutes(run, state)):
        return True
    # what ends an alert must be in the log
    return any(
        record.state is not AlertState.RESOLVED
        for (alert, view), record in state.alerts.items()
        if view in results and alert in (Alert.VIEW_STALE, Alert.REFRESH_FAILED)
    )


def _ordinary(run: Run) -> bool:
    return run.outcome is Outcome.OK and run.origin is Origin.SCHEDULE


def _full(run: Run, views: set[str]) -> bool:
    return _ordinary(run) and not {result.view for result in run.views} < views


def _in_same_minutes(run: Run, state: State) -> Iterable[Run]:
    """Return the runs before this one, newest first, of the same five minutes of the clock."""
    began = slot_at(run.scheduled_at or run.started_at, _FULL_RUN_EVERY)
    return takewhile(
        lambda other: slot_at(other.scheduled_at or other.started_at, _FULL_RUN_EVERY) == began,
        (other for other in state.runs if other.run_id != run.run_id),
    )


@dataclass(frozen=True, slots=True)
class ViewSummary:
    """One view in the runs of a summary: the slowest refresh, and what the last one left."""

    view: str
    runs: int
    seconds: float | None
    run_id: UUID
    rows: int | None
    last_success_at: datetime | None

    def and_then(self, later: "ViewSummary") -> "ViewSummary":
        """Add what came later."""
        slower = (later.seconds or 0.0) > (self.seconds or 0.0)
        return replace(
            later,
            runs=self.runs + later.runs,
            seconds=later.seconds if slower else self.seconds,
            run_id=later.run_id if slower else self.run_id,
        )


def _of(result: ViewResult, run: Run) -> ViewSummary:
    at = result.finished_at or run.finished_at
    return ViewSummary(result.view, 1, result.duration_seconds, run.run_id, result.rows, at)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The runs since the last summary.

    `runs` have no line of their own, and the figures are theirs. `outcomes` counts every run and skipped slot since
    `since`.
    """

    since: datetime
    runs: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    lateness_seconds: float = 0.0
    duration_seconds: float = 0.0
    rows_folded: int | None = None
    views: Mapping[str, ViewSummary] = field(default_factory=dict)

    def counting(self, run: Run) -> "RunSummary":
        """Count a skipped slot, or a run with its own line."""
        outcome = (run.outcome or Outcome.UNKNOWN).value
        return replace(self, outcomes={**self.outcomes, outcome: self.outcomes.get(outcome, 0) + 1})

    def taking(self, run: Run) -> "RunSummary":
        """Add a run that has none."""
        views = dict(self.views)
        for result in run.views:
            now, before = _of(result, run), views.get(result.view)
            views[result.view] = now if before is None else before.and_then(now)
        folded = None if run.rows_folded is None else (self.rows_folded or 0) + run.rows_folded
        return replace(
            self.counting(run),
            runs=self.runs + 1,
            lateness_seconds=max(self.lateness_seconds, run.lateness_seconds or 0.0),
            duration_seconds=max(self.duration_seconds, run.duration_seconds or 0.0),
            rows_folded=self.rows_folded if folded is None else folded,
            views=views,
        )

    def due(self, now: datetime) -> bool:
        """Whether it is time to log it. A clock that was set back makes it time, too."""
        return abs(now - self.since) >= SUMMARY_EVERY
