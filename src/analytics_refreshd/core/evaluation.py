"""What a run's rows mean. A call that returned is not yet a success: the rows decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Blocker, LockSample, Outcome, Reason, ViewReport, ViewResult
from analytics_refreshd.core.timing import Timing, view_ends, view_timings
from analytics_refreshd.core.wording import session_in_words

_NO_FUNCTION = frozenset({"42883", "3F000"})
_MOST_UNKNOWN = 5
_MOST_NAME = 63
_UNTOUCHED = frozenset(
    {
        Reason.CONNECT,
        Reason.CONTRACT,
        Reason.NOT_PRIMARY,
        Reason.PERMISSION,
        Reason.TOO_MANY_CONNECTIONS,
        Reason.UNDEFINED,
    }
)
"""Faults that struck before any view was touched: their reason says more than "rolled back"."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A run's outcome with its views, one result for every expected view. `unknown_views`: rows nobody expects."""

    outcome: Outcome
    reason: Reason | None
    sqlstate: str | None
    error: str | None
    views: tuple[ViewResult, ...]
    unknown_views: tuple[str, ...] = ()


def evaluate_reports(
    expected: Sequence[str],
    reports: Sequence[ViewReport],
    samples: Sequence[LockSample],
    total_seconds: float,
    ended_at: datetime | None = None,
) -> Evaluation:
    """Evaluate a call that returned at the server's time `ended_at`: every expected view once, each with success true.

    A view without a row, with two rows, or without a success flag has failed. Rows of unknown views are named
    (at most five, cut at 63 characters) and change nothing else. A failed view does not change what happened to the
    others; where all timed out the run did, and where a stop cancelled one the run was cancelled.
    """
    by_view: dict[str, list[ViewReport]] = {}
    unknown: list[str] = []
    for report in reports:
        if report.view in expected and report.view is not None:
            by_view.setdefault(report.view, []).append(report)
        else:
            unknown.append((report.view or "(null)")[:_MOST_NAME])
    timings = _timings(expected, by_view, samples, total_seconds)
    results = [_judge_view(view, by_view.get(view, []), timings[view]) for view in expected]
    if ended_at is not None:
        results = _dated(results, reports, samples, total_seconds, ended_at - timedelta(seconds=total_seconds))
    bad = [result for result in results if not result.success]
    first = next((result for result in bad if result.reason is Reason.SHUTDOWN), bad[0] if bad else None)
    return Evaluation(
        _outcome(results),
        first.reason if first else None,
        first.sqlstate if first else None,
        f"{first.view}: {first.error}" if first else None,
        tuple(results),
        tuple(sorted(set(unknown))[:_MOST_UNKNOWN]),
    )


def _dated(
    results: Sequence[ViewResult],
    reports: Sequence[ViewReport],
    samples: Sequence[LockSample],
    total_seconds: float,
    began_at: datetime,
) -> list[ViewResult]:
    """Give each success its own end: the lock watch's, but no later than the refresher knows its content to be."""
    # where the watch and the function disagree, something else may have taken the rest of the time
    took = {
        result.view: min(result.reported_seconds, result.duration_seconds)
        if result.reported_seconds is not None
        and result.duration_seconds is not None
        and result.duration_seconds == result.observed_seconds
        else result.duration_seconds
        for result in results
    }
    # in the order of the rows, which is the order of the work
    ordered = {report.view: took[report.view] for report in reports if report.view in took}
    fresh = {report.view: report.fresh_seconds for report in reports if report.fresh_seconds is not None}
    alone = any(report.measured_seconds is not None for report in reports)
    ends = {} if alone else view_ends(ordered, samples, total_seconds, min(fresh.values(), default=0.0))
    found = []
    for result in results:
        known = [seconds for each in (ends, fresh) if (seconds := each.get(result.view)) is not None]
        finished_at = began_at + timedelta(seconds=min(known)) if result.success and known else None
        found.append(replace(result, finished_at=finished_at))
    return found


def _outcome(results: Sequence[ViewResult]) -> Outcome:
    reasons = [result.reason for result in results if not result.success]
    if results and not reasons:
        return Outcome.OK
    if Reason.SHUTDOWN in reasons:
        return Outcome.CANCELLED
    if len(reasons) < len(results):
        return Outcome.PARTIAL
    if {*reasons} == {Reason.TIMEOUT}:
        return Outcome.TIMEOUT
    return Outcome.CANCELLED if {*reasons} == {Reason.CANCELLED} else Outcome.FAILED


def _timings(
    expected: Sequence[str],
    by_view: Mapping[str, Sequence[ViewReport]],
    samples: Sequence[LockSample],
    total_seconds: float,
) -> dict[str, Timing]:
    """What the daemon measured itself counts; else views without one row of their own come first, in no order."""
    rows = {view: reports[0] for view, reports in by_view.items() if len(reports) == 1}
    measured = {view: row.measured_seconds for view, row in rows.items() if row.measured_seconds is not None}
    if measured:
        return {view: Timing(measured.get(view), measured.get(view)) for view in expected}
    said: dict[str, float | None] = {view: None for view in expected if view not in rows}
    return view_timings(said | {view: row.reported_seconds for view, row in rows.items()}, samples, total_seconds)


def _judge_view(view: str, rows: Sequence[ViewReport], timing: Timing) -> ViewResult:
    observed = timing.observed
    if not rows:
        text = "the function returned no row for this view"
        return ViewResult(view, False, Reason.MISSING, error=text, observed_seconds=observed)
    if len(rows) > 1:
        text = f"the function returned {len(rows)} rows for this view"
        return ViewResult(view, False, Reason.DUPLICATED, error=text, observed_seconds=observed)
    (row,) = rows
    failed = row.success is not True
    reason, error = None, None
    if row.success is None:
        reason, error = Reason.CONTRACT, "the function did not say whether the refresh succeeded"
    elif failed:
        reason, error = row.reason or Reason.OTHER, row.error or "the function gave no error text"
    return ViewResult(
        view,
        not failed,
        reason,
        sqlstate=row.sqlstate if failed else None,
        error=error,
        rows=row.rows if not failed and row.rows is not None and row.rows >= 0 else None,
        duration_seconds=timing.duration,
        reported_seconds=row.reported_seconds,
        observed_seconds=observed,
        rows_changed=row.rows_changed,
        cost=row.cost,
    )


def evaluate_fault(expected: Sequence[str], fault: DatabaseFault, *, cancelled: bool) -> Evaluation:
    """Evaluate a call that raised: nothing it did is visible, so every view was rolled back.

    `cancelled`: this daemon was asked to stop; any other cancellation is a timeout or a person's. A connection
    lost during COMMIT leaves the outcome unknown until the status function has been asked, whoever caused it. Where
    another session holds the fence nothing was attempted: skipped.
    """
    if fault.reason is Reason.OVERLAP:
        return Evaluation(Outcome.SKIPPED, Reason.OVERLAP, fault.sqlstate, fault.message, ())
    reason, view_reason = fault.reason, Reason.ROLLED_BACK
    if fault.committing:
        outcome, view_reason = Outcome.UNKNOWN, Reason.CONN_LOST
    elif fault.error_class is ErrorClass.CANCELLED or fault.reason is Reason.TIMEOUT:
        by_person = fault.reason is Reason.CANCELLED
        outcome = Outcome.CANCELLED if cancelled or by_person else Outcome.TIMEOUT
        reason = Reason.SHUTDOWN if cancelled else fault.reason if by_person else Reason.TIMEOUT
    else:
        outcome = Outcome.CANCELLED if cancelled else Outcome.FAILED
        if fault.reason in _UNTOUCHED:
            view_reason = fault.reason
    results = tuple(
        ViewResult(view, False, view_reason, sqlstate=fault.sqlstate, error=fault.message) for view in expected
    )
    return Evaluation(outcome, reason, fault.sqlstate, fault.message, results)


def naming_blocker(evaluation: Evaluation, blockers: Sequence[Blocker]) -> Evaluation:
    """Name the session that held the locks not had in time.

    `blockers` are the run's, in the order seen: the last one counts. History keeps it with the error, for the time
    between two runs.
    """
    if not blockers:
        return evaluation
    held = f"it waited on {session_in_words(blockers[-1])}"

    def named(reason: Reason | None, error: str | None) -> str | None:
        return f"{error}: {held}" if error is not None and reason is Reason.LOCK_TIMEOUT else error

    views = tuple(replace(result, error=named(result.reason, result.error)) for result in evaluation.views)
    return replace(evaluation, error=named(evaluation.reason, evaluation.error), views=views)


def contract_problems(evaluation: Evaluation) -> tuple[str, ...]:
    """Return what breaks the contract, one sentence each. What is true of every view comes once."""
    if evaluation.error is not None and all(result.error == evaluation.error for result in evaluation.views):
        gone = evaluation.reason is Reason.CONTRACT or evaluation.sqlstate in _NO_FUNCTION
        return (evaluation.error,) if gone else ()
    unusable = (Reason.MISSING, Reason.DUPLICATED, Reason.CONTRACT)
    views_by_error: dict[str | None, list[str]] = {}
    for result in evaluation.views:
        if result.reason in unusable:
            views_by_error.setdefault(result.error, []).append(result.view)
    return (
        *(
            f"the refresh function returned a row for {name}, which is not configured"
            for name in evaluation.unknown_views
        ),
        *(
            f"the refresh function returned no usable row for {', '.join(views)}: {error}"
            for error, views in views_by_error.items()
        ),
    )
