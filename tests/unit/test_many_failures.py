"""An evaluation while everything fails: its work grows with the runs kept, and not with each view times these."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from analytics_refreshd.core.alerts.lifecycle import Alert
from analytics_refreshd.core.alerts.rules import conditions
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.snapshot import RECENT
from tests.support.alert_rules import ago, found, seen

VIEWS = tuple(f"view_{number:02}" for number in range(50))


class Counted(tuple[ViewResult, ...]):
    """The results of a run, which count how many of them are looked at."""

    looks = 0

    def __iter__(self) -> Iterator[ViewResult]:
        for result in super().__iter__():
            Counted.looks += 1
            yield result


def failures(count: int) -> tuple[Run, ...]:
    """So many runs in which all views failed, newest first."""
    results = Counted(ViewResult(view, False, Reason.DATA, "22012", "division by zero") for view in VIEWS)
    return tuple(
        Run(UUID(int=second), Origin.SCHEDULE, ago(second), outcome=Outcome.FAILED, reason=Reason.DATA, views=results)
        for second in range(count)
    )


@pytest.mark.parametrize("count", [10, 300, 1500])
def test_each_result_is_looked_at_once_whatever_the_number_of_views(count: int) -> None:
    """Fifty views that fail in every run cost a look at each of their newest results, not one for each view."""
    snapshot = seen(views=VIEWS, runs=failures(count))
    Counted.looks = 0
    assert len(list(conditions(snapshot))) > 150
    list(snapshot.views)
    # the rules, the views shown, and the rule on disk space
    runs = min(count, 200) + min(count, RECENT) + snapshot.state.limits.resolve_after_runs
    assert Counted.looks <= len(VIEWS) * runs


@pytest.mark.parametrize(("count", "told"), [(1, "last run."), (199, "199 runs in"), (1500, "200 or more runs in")])
def test_the_number_of_failures_is_told_as_far_as_it_is_counted(count: int, told: str) -> None:
    """What is looked at no more is said to be more."""
    condition = found(seen(views=VIEWS, runs=failures(count)))[Alert.REFRESH_FAILED, "view_07"]
    assert condition.holds
    assert told in condition.description
