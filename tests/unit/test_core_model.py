"""The values' own promises."""

import dataclasses

import pytest

from analytics_refreshd.core import model, ports, snapshot, state
from analytics_refreshd.core.delta import Delta, late_since, unheld_words
from analytics_refreshd.core.model import VIEWS, Limits, Outcome, Reason


def test_the_contracts_views_and_outcomes() -> None:
    """The names that dashboards and other services read are fixed."""
    assert VIEWS == (
        "action_metrics_hourly",
        "trigger_performance_summary",
        "recent_failures",
        "action_type_distribution",
    )
    assert {outcome.value for outcome in Outcome} == {
        "ok",
        "partial",
        "failed",
        "timeout",
        "cancelled",
        "unknown",
        "skipped",
    }


def test_reasons_are_fit_for_labels() -> None:
    """A reason labels metrics: lower case, and its name is its value."""
    assert all(reason.value == reason.name.lower() for reason in Reason)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(model).values() if dataclasses.is_dataclass(kind)]
    + [ports.RefreshReply, state.State, snapshot.Snapshot, snapshot.ViewSnapshot],
)
def test_values_do_not_change(kind: type) -> None:
    """Values are frozen, so that a thread may hand them to another."""
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert hasattr(kind, "__slots__")


def test_default_limits_are_the_documents() -> None:
    """Five minutes, slow over 5 s, success under 90 %, p95 over 1 s, each with 20 executions."""
    limits = Limits()
    assert (limits.interval_seconds, limits.slow_seconds) == (300.0, 5.0)
    assert (limits.success_rate_min_percent, limits.latency_p95_max_seconds, limits.min_executions) == (90.0, 1.0, 20)
    assert (limits.slow_after_runs, limits.failed_after_runs, limits.resolve_after_runs) == (2, 2, 2)


def test_problems_of_the_incremental_mode() -> None:
    """What breaks its promise is told with its remedy, and in plain mode nothing is."""
    assert Delta("plain", uncaptured=("public.x",), verified_ok=False).problems == ()
    assert Delta("incremental", verified_ok=True).problems == ()
    captured, differs = Delta(
        "incremental", uncaptured=("public.x",), verified_ok=False, verified_differences=2
    ).problems
    assert captured.endswith("run analytics-refreshd migrate --incremental")
    assert differs.endswith("run analytics-refreshd migrate --verify --rebuild")


def test_late_rows_are_those_since_the_reading_before() -> None:
    """Nothing is known of those before the first reading; a count that fell is another database's."""
    none, three, five = Delta("incremental"), Delta("incremental", late_rows=3), Delta("incremental", late_rows=5)
    found = [late_since(*each) for each in ((None, five), (none, five), (three, five), (five, three), (five, none))]
    assert found == [0, 0, 2, 0, 0]


def test_L04_values_that_the_views_cannot_hold_are_said_by_kind() -> None:
    """A sentence for each kind that there is; they and the obstacles are problems of the incremental mode alone."""
    assert unheld_words(0, 0, 0) == ()
    words = unheld_words(1200, 2, 3)
    assert [text.partition(" rows")[0] for text in words] == ["1,200", "2", "3"]
    assert Delta("incremental", obstacles=("hidden",), unheld=words).problems == ("hidden", *words)
    assert Delta("plain", obstacles=("hidden",), unheld=words).problems == ()
