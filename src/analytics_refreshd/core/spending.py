"""What refreshes cost over a day, from the runs that are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from analytics_refreshd.core.cost import Spent, spent
from analytics_refreshd.core.model import Outcome, Run
from analytics_refreshd.core.snapshot import Snapshot

_DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class ViewSpent:
    """What one view's refreshes cost together."""

    view: str
    spent: Spent


@dataclass(frozen=True, slots=True)
class Spending:
    """The cost of the last run, and of the last 24 hours.

    `last_run` is None where none ended.
    """

    last_run: Run | None
    day: Spent
    views: tuple[ViewSpent, ...]


def spending(snapshot: Snapshot) -> Spending:
    """Add up what the runs of the last 24 hours cost. Skipped slots cost nothing and do not count."""
    state, since = snapshot.state, snapshot.server_now - _DAY
    ended = [run for run in state.runs if run.outcome not in (None, Outcome.SKIPPED)]
    day = [run for run in ended if run.started_at > since]
    views = tuple(ViewSpent(view, _of_view(view, day)) for view in state.views)
    return Spending(next(iter(ended), None), spent(run.cost for run in day), views)


def _of_view(view: str, runs: Sequence[Run]) -> Spent:
    return spent(result.cost for run in runs for result in run.views if result.view == view)
