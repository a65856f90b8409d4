"""A call that returned is not yet a success, and one that raised says why for every view."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.evaluation import contract_problems, evaluate_fault, evaluate_reports, naming_blocker
from analytics_refreshd.core.model import VIEWS, Blocker, LockSample, Outcome, Reason, ViewReport


def row(view: str | None, **changes: Any) -> ViewReport:
    fields: dict[str, Any] = {"reported_seconds": 0.5, "rows": 10, "success": True}
    return ViewReport(view, **(fields | changes))


def failed(view: str, reason: Reason | None = None, **changes: object) -> ViewReport:
    return row(view, success=False, rows=0, reason=reason, error="it broke", **changes)


ALL = [row(view) for view in VIEWS]


def test_four_successes_are_a_success() -> None:
    """Every expected view once, each with success true: ok, with rows and durations."""
    found = evaluate_reports(VIEWS, ALL, (), 2.1)
    assert (found.outcome, found.reason, found.error) == (Outcome.OK, None, None)
    assert [(view.view, view.rows, view.duration_seconds) for view in found.views] == [(v, 10, 0.5) for v in VIEWS]


def test_zero_rows_are_no_success() -> None:
    """A function that returns nothing has failed for every view, and so has one without views to expect."""
    found = evaluate_reports(VIEWS, [], (), 0.1)
    assert found.outcome is Outcome.FAILED
    assert {view.reason for view in found.views} == {Reason.MISSING}
    assert evaluate_reports((), [], (), 0.1).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], Reason.MISSING),
        ([row(VIEWS[3]), row(VIEWS[3])], Reason.DUPLICATED),
        ([row(VIEWS[3], success=None)], Reason.CONTRACT),
        ([failed(VIEWS[3])], Reason.OTHER),
        ([failed(VIEWS[3], Reason.LOCK_TIMEOUT, sqlstate="55P03")], Reason.LOCK_TIMEOUT),
    ],
)
def test_one_bad_view_makes_a_partial_run(rows: list[ViewReport], reason: Reason) -> None:
    """The others stand; the bad one has a reason, an error and no rows, and the run names it."""
    found = evaluate_reports(VIEWS, [*ALL[:3], *rows], (), 3.0)
    bad = found.views[3]
    assert (found.outcome, found.reason, found.sqlstate) == (Outcome.PARTIAL, reason, bad.sqlstate)
    assert (bad.success, bad.reason, bad.rows) == (False, reason, None)
    assert found.error == f"{VIEWS[3]}: {bad.error}"
    assert all(view.success for view in found.views[:3])


def test_L29_the_session_that_held_a_lock_is_kept_with_the_error() -> None:
    """The last one of several, on the views whose lock was not had; without one nothing is added."""
    rows = [*ALL[:2], failed(VIEWS[2], Reason.LOCK_TIMEOUT), failed(VIEWS[3], Reason.PERMISSION)]
    found = evaluate_reports(VIEWS, rows, (), 2.1)
    blockers = [Blocker(pid, None, "nightly-etl", None, None, None, None) for pid in (811, 812)]
    named = naming_blocker(found, blockers)
    assert named.error == f"{VIEWS[2]}: it broke: it waited on pid 812, nightly-etl"
    assert [view.error for view in named.views] == [
        None,
        None,
        "it broke: it waited on pid 812, nightly-etl",
        "it broke",
    ]
    assert naming_blocker(found, ()) == found


def test_a_failure_without_a_text_says_so() -> None:
    """An empty error text does not leave an empty reason in front of a person."""
    found = evaluate_reports(["v"], [row("v", success=False, error="")], (), 1.0)
    assert found.views[0].error == "the function gave no error text"


def test_a_success_with_an_absurd_count_or_error_is_still_a_success() -> None:
    """NULL or negative rows are unknown rows; a text or SQLSTATE beside success true is not an error."""
    found = evaluate_reports(["a", "b"], [row("a", rows=None), row("b", rows=-1, error="x", sqlstate="00000")], (), 1.0)
    assert found.outcome is Outcome.OK
    assert [(view.rows, view.error, view.sqlstate) for view in found.views] == [(None, None, None)] * 2


def test_unknown_views_are_named_and_bounded() -> None:
    """Rows nobody expects change no outcome; at most five names come out, each cut to a name's length."""
    strange = [row(f"x{number:04}" + "y" * 1000) for number in range(1000)] + [row(None)]
    found = evaluate_reports(VIEWS, [*ALL, *strange], (), 2.1)
    assert found.outcome is Outcome.OK
    assert len(found.unknown_views) == 5
    assert found.unknown_views[0] == "(null)"
    assert max(map(len, found.unknown_views)) == 63


def test_a_minute_the_function_forgot_is_found() -> None:
    """65 s reported as 5 s: the duration is the true one, and both figures are kept."""
    samples = tuple(LockSample(0.5 + second, frozenset({"a"})) for second in range(65))
    found = evaluate_reports(
        ["a", "b"], [row("a", reported_seconds=5.0), row("b", reported_seconds=0.2)], samples, 65.2
    )
    first, second = found.views
    assert (first.duration_seconds, first.reported_seconds) == (65.0, 5.0)
    assert first.observed_seconds == pytest.approx(64.7)
    assert (second.duration_seconds, second.observed_seconds) == (0.2, None)


def test_a_view_without_a_row_is_not_credited_with_anothers_minutes() -> None:
    """A view seen but missing from the rows is found missing; the others' durations stay true."""
    samples = (LockSample(1.0, frozenset({"a", "b"})), LockSample(64.0, frozenset({"a", "b"})))
    found = evaluate_reports(["a", "b"], [row("a", reported_seconds=5.0)], samples, 65.1)
    assert found.views[0].duration_seconds == pytest.approx(65.0)
    assert found.views[1].reason is Reason.MISSING


def test_what_the_daemon_measured_itself_counts() -> None:
    """With a transaction per view the daemon timed each: neither report nor locks matter."""
    reports = [row("a", measured_seconds=61.0, reported_seconds=1.0), row("b", measured_seconds=62.0)]
    found = evaluate_reports(["a", "b", "c"], reports, (), 62.5)
    assert [view.duration_seconds for view in found.views] == [61.0, 62.0, None]
    assert found.views[0].observed_seconds == 61.0


def test_a_run_in_which_every_view_timed_out_timed_out() -> None:
    """With a transaction per view, four timeouts are a timeout; three and a lost lock are a failure."""
    timeouts = [failed(view, Reason.TIMEOUT) for view in VIEWS]
    assert evaluate_reports(VIEWS, timeouts, (), 9.0).outcome is Outcome.TIMEOUT
    assert evaluate_reports(VIEWS, [*timeouts[:3], failed(VIEWS[3])], (), 9.0).outcome is Outcome.FAILED
    assert evaluate_reports(VIEWS, [*timeouts[:3], ALL[3]], (), 9.0).outcome is Outcome.PARTIAL


def test_a_stop_between_two_views_is_a_cancelled_run() -> None:
    """With a transaction per view, a stop is a cancelled run whatever else went well or badly before it."""
    stopped = [failed(view, Reason.SHUTDOWN) for view in VIEWS[2:]]
    found = evaluate_reports(VIEWS, [ALL[0], failed(VIEWS[1], Reason.PERMISSION), *stopped], (), 1.0)
    assert (found.outcome, found.reason) == (Outcome.CANCELLED, Reason.SHUTDOWN)


@pytest.mark.fault
def test_L17_a_view_that_a_person_cancelled_leaves_the_others_as_they_are() -> None:
    """One of four is a partial run; a run in which each was cancelled is a cancelled one."""
    found = evaluate_reports(VIEWS, [*ALL[:3], failed(VIEWS[3], Reason.CANCELLED)], (), 1.0)
    assert (found.outcome, found.reason) == (Outcome.PARTIAL, Reason.CANCELLED)
    all_of_them = evaluate_reports(VIEWS, [failed(view, Reason.CANCELLED) for view in VIEWS], (), 1.0)
    assert (all_of_them.outcome, all_of_them.reason) == (Outcome.CANCELLED, Reason.CANCELLED)


@given(
    st.lists(
        st.builds(
            ViewReport,
            st.none() | st.sampled_from([*VIEWS, "other"]),
            st.none() | st.floats(),
            st.none() | st.integers(),
            st.none() | st.booleans(),
            st.none() | st.text(max_size=5),
        ),
        max_size=12,
    ),
    st.lists(st.builds(LockSample, st.floats(0, 500), st.frozensets(st.sampled_from(VIEWS))), max_size=5),
    st.floats(0, 500),
)
def test_any_rows_give_one_result_per_view(reports: list[ViewReport], samples: list[LockSample], total: float) -> None:
    """Whatever the function returns, each expected view is found once, in order, and ok means all succeeded."""
    found = evaluate_reports(VIEWS, reports, sorted(samples, key=lambda sample: sample.at_seconds), total)
    assert tuple(view.view for view in found.views) == VIEWS
    assert (found.outcome is Outcome.OK) == all(view.success for view in found.views)
    for view in found.views:
        assert view.success == (view.reason is None) == (view.error is None)
        assert view.success or view.rows is None
        assert view.duration_seconds is None or 0 <= view.duration_seconds <= total + 0.301


def fault(
    error_class: ErrorClass, reason: Reason, sqlstate: str | None = None, *, committing: bool = False
) -> DatabaseFault:
    return DatabaseFault("no", error_class=error_class, reason=reason, sqlstate=sqlstate, committing=committing)


TIMEOUT = fault(ErrorClass.CANCELLED, Reason.TIMEOUT, "57014")


@pytest.mark.parametrize(
    ("error", "cancelled", "outcome", "reason", "views"),
    [
        (TIMEOUT, False, Outcome.TIMEOUT, Reason.TIMEOUT, Reason.ROLLED_BACK),
        (TIMEOUT, True, Outcome.CANCELLED, Reason.SHUTDOWN, Reason.ROLLED_BACK),
        (
            fault(ErrorClass.CANCELLED, Reason.CANCELLED, "57014"),
            False,
            Outcome.CANCELLED,
            Reason.CANCELLED,
            Reason.ROLLED_BACK,
        ),
        (
            fault(ErrorClass.CONN_LOST, Reason.TIMEOUT, "25P04"),
            False,
            Outcome.TIMEOUT,
            Reason.TIMEOUT,
            Reason.ROLLED_BACK,
        ),
        (
            fault(ErrorClass.CONN_LOST, Reason.CONN_LOST, "57P01"),
            False,
            Outcome.FAILED,
            Reason.CONN_LOST,
            Reason.ROLLED_BACK,
        ),
        (
            fault(ErrorClass.CONN_LOST, Reason.CONN_LOST),
            True,
            Outcome.CANCELLED,
            Reason.CONN_LOST,
            Reason.ROLLED_BACK,
        ),
        (fault(ErrorClass.CONNECT, Reason.CONNECT), False, Outcome.FAILED, Reason.CONNECT, Reason.CONNECT),
        (
            fault(ErrorClass.NOT_PRIMARY, Reason.NOT_PRIMARY, "25006"),
            False,
            Outcome.FAILED,
            Reason.NOT_PRIMARY,
            Reason.NOT_PRIMARY,
        ),
        (
            fault(ErrorClass.PERMANENT, Reason.UNDEFINED, "42883"),
            False,
            Outcome.FAILED,
            Reason.UNDEFINED,
            Reason.UNDEFINED,
        ),
        (
            fault(ErrorClass.PERMANENT, Reason.DUPLICATE_ROWS, "21000"),
            False,
            Outcome.FAILED,
            Reason.DUPLICATE_ROWS,
            Reason.ROLLED_BACK,
        ),
        (
            fault(ErrorClass.RESOURCE, Reason.DISK_FULL, "53100"),
            False,
            Outcome.FAILED,
            Reason.DISK_FULL,
            Reason.ROLLED_BACK,
        ),
    ],
)
def test_a_call_that_raised(
    error: DatabaseFault, cancelled: bool, outcome: Outcome, reason: Reason, views: Reason
) -> None:
    """Nothing is visible: views say rolled back where the call had begun its work, else the run's own reason."""
    found = evaluate_fault(VIEWS, error, cancelled=cancelled)
    assert (found.outcome, found.reason, found.sqlstate) == (outcome, reason, error.sqlstate)
    assert [(view.view, view.success, view.reason) for view in found.views] == [(v, False, views) for v in VIEWS]
    assert {view.rows for view in found.views} == {None}


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_connection_lost_in_commit_leaves_the_outcome_unknown(cancelled: bool) -> None:
    """Whether the work is there must be asked: neither failed nor cancelled nor rolled back."""
    error = fault(ErrorClass.CONN_LOST, Reason.CONN_LOST, committing=True)
    found = evaluate_fault(VIEWS, error, cancelled=cancelled)
    assert found.outcome is Outcome.UNKNOWN
    assert {view.reason for view in found.views} == {Reason.CONN_LOST}


def test_a_fence_held_by_another_is_a_skipped_run() -> None:
    """Nothing was attempted, so no view failed."""
    found = evaluate_fault(VIEWS, fault(ErrorClass.CONTENTION, Reason.OVERLAP), cancelled=False)
    assert (found.outcome, found.reason, found.views) == (Outcome.SKIPPED, Reason.OVERLAP, ())


def test_contract_problems_are_said_once_each() -> None:
    """Unknown and unusable rows are named; a call that failed as a whole is one problem, and only where it is ours."""
    reports = [*(row(view) for view in VIEWS[1:]), row("stranger")]
    found = contract_problems(evaluate_reports(VIEWS, reports, [], 1.0))
    assert found == (
        "the refresh function returned a row for stranger, which is not configured",
        f"the refresh function returned no usable row for {VIEWS[0]}: the function returned no row for this view",
    )
    gone = DatabaseFault("no function", error_class=ErrorClass.PERMANENT, reason=Reason.UNDEFINED, sqlstate="42883")
    assert contract_problems(evaluate_fault(VIEWS, gone, cancelled=False)) == ("no function",)
    denied = DatabaseFault("denied", error_class=ErrorClass.PERMANENT, reason=Reason.PERMISSION, sqlstate="42501")
    assert contract_problems(evaluate_fault(VIEWS, denied, cancelled=False)) == ()


_ENDED = datetime(2026, 5, 4, 12, 1, tzinfo=UTC)


def _ends(reports: list[ViewReport], samples: tuple[LockSample, ...] = (), seconds: float = 60.0) -> list[float | None]:
    """How long before the call's end each view's own refresh ended."""
    found = evaluate_reports(VIEWS, reports, samples, seconds, _ENDED).views
    return [None if view.finished_at is None else (_ENDED - view.finished_at).total_seconds() for view in found]


def test_L08_each_success_has_its_own_end() -> None:
    """One transaction for all: a view is as old as the views after it took; a failure has no end."""
    reports = [row(VIEWS[0], reported_seconds=2.0), row(VIEWS[1], reported_seconds=18.0), failed(VIEWS[2])]
    reports.append(row(VIEWS[3], reported_seconds=35.0))
    assert _ends(reports) == [58.0, 40.0, None, 4.5]
    assert [view.finished_at for view in evaluate_reports(VIEWS, reports, (), 60.0).views] == [None] * 4


def test_L08_a_function_that_goes_on_after_its_views_makes_none_of_them_younger() -> None:
    """Its figure counts where the watch saw the lock held for longer, because it may have worked on something else."""
    samples = tuple(LockSample(float(at), frozenset(VIEWS[:1])) for at in range(1, 40))
    (first, *_) = _ends([row(VIEWS[0], reported_seconds=4.0)], samples, seconds=40.0)
    assert first == 36.0


def test_L08_a_view_refreshed_alone_or_after_a_fold_is_as_fresh_as_the_refresher_knows() -> None:
    """The refresher's own bound counts: alone where it timed the view, else where it is the earlier one."""
    alone = [row(view, measured_seconds=9.0, fresh_seconds=10.0 + at) for at, view in enumerate(VIEWS)]
    assert _ends(alone) == [50.0, 49.0, 48.0, 47.0]
    folded = [row(VIEWS[0], fresh_seconds=1.0), row(VIEWS[1]), row(VIEWS[2]), row(VIEWS[3], fresh_seconds=59.9)]
    assert _ends(folded) == [59.0, 58.0, 57.5, 57.0]
