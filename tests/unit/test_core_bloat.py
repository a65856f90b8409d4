"""How large a view gets between two visits of autovacuum."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from analytics_refreshd.core.bloat import Autovacuum, Churn, bloat, churn
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.snapshot import ViewRun

AT = datetime(2026, 3, 2, tzinfo=UTC)
DEFAULT = Autovacuum(True, 60.0, 50.0, 0.2)
TUNED = Autovacuum(True, 15.0, 100.0, 0.05)


def results(*changed: int | None, rows: int | None = 1000, success: bool = True) -> Sequence[ViewRun]:
    """Runs in which so many rows of a view changed."""
    run = Run(UUID(int=1), Origin.SCHEDULE, AT, outcome=Outcome.OK)
    why = None if success else Reason.DATA
    return [(run, ViewResult("v", success, why, rows=rows, rows_changed=each)) for each in changed]


def test_half_of_the_changed_rows_are_dead() -> None:
    """The middle one of the last nine counts, whatever a first refresh changed."""
    assert churn(results(*[200] * 5)) == Churn(1000, 100)
    assert churn(results(*[200] * 8, 9000, 9000)) == Churn(1000, 100)
    assert churn(results(*[200] * 9, *[9000] * 30)) == Churn(1000, 100)


def test_too_few_refreshes_tell_nothing() -> None:
    """Failures, and refreshes of which nobody counted the rows, do not count."""
    assert churn(results(*[200] * 4)) is None
    unknown = [*results(None), *results(200, rows=None), *results(200, success=False)]
    assert churn([*results(*[200] * 4), *unknown]) is None
    assert churn([*results(*[200] * 5), *unknown]) == Churn(1000, 100)


@pytest.mark.parametrize(
    ("found", "autovacuum", "interval", "times"),
    [
        # two refreshes in a minute, and one more version of each row for either
        (Churn(10_000, 9_500), DEFAULT, 30.0, 2.9),
        (Churn(10_000, 9_500), TUNED, 30.0, None),
        # at the default interval a visit finds one refresh
        (Churn(10_000, 9_500), DEFAULT, 300.0, None),
        # a fifth of the rows and 50 must be dead before a visit does anything: the second one finds so many
        (Churn(10_000, 2_000), replace(DEFAULT, scale_factor=1.0), 30.0, 2.2),
        (Churn(10_000, 2_000), DEFAULT, 30.0, None),
        # few rows take few pages
        (Churn(300, 300), DEFAULT, 30.0, None),
        (Churn(300, 300), DEFAULT, 10.0, 7.0),
        (Churn(0, 0), DEFAULT, 30.0, None),
        (Churn(10_000, 0), replace(DEFAULT, enabled=False), 30.0, None),
    ],
)
def test_a_view_grows_by_what_refreshes_leave_before_autovacuum_comes(
    found: Churn, autovacuum: Autovacuum, interval: float, times: float | None
) -> None:
    """More than twice its size is told."""
    told = bloat("v", found, autovacuum, interval)
    assert (None if told is None else told.times) == (None if times is None else pytest.approx(times))


def test_the_sentence_has_the_figures() -> None:
    """It says what a refresh leaves behind, how often, and what that comes to."""
    told = bloat("v", Churn(10_000, 9_500), DEFAULT, 30.0)
    assert told is not None
    assert (told.refreshes, told.lags) == (2, True)
    assert told.text == (
        "a refresh of v every 30 s leaves 9,500 dead rows beside 10,000, and autovacuum removes them after"
        " 2 refreshes: it gets 2.9 times its size"
    )
    seldom = bloat("v", Churn(10_000, 2_000), replace(TUNED, scale_factor=2.0), 30.0)
    assert seldom is not None
    assert (seldom.refreshes, seldom.lags) == (11, False)
    off = bloat("v", Churn(10_000, 1), replace(DEFAULT, enabled=False), 30.0)
    assert off is not None
    assert (off.refreshes, off.lags) == (None, False)
    assert off.text.endswith("autovacuum is off: the view grows without end")
