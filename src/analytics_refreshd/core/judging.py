"""What a run's rows mean. A call that returned is not yet a success: the rows decide."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import LockSample, Outcome, Reason, ViewReport, ViewResult
from analytics_refreshd.core.timing import Span, observed_spans, true_seconds

_MOST_UNKNOWN = 5
_LOST_SECONDS = 59.0
_VIEWLESS = frozenset({ErrorClass.CONNECT, ErrorClass.NOT_PRIMARY, ErrorClass.PERMANENT})
"""Faults that struck before any view was touched: their reason says more than "rolled back"."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A run's outcome with its views, one result for every expected view. `unknown_views`: rows nobody expects."""

    outcome: Outcome
    reason: Reason | None
    sqlstate: str | None
    error: str | None
    views: tuple[ViewResult, ...]
    unknown_views: tuple[str, ...] = ()


def judge_reports(
    expected: Sequence[str],
    reports: Sequence[ViewReport],
    samples: Sequence[LockSample],
    total_seconds: float,
) -> Judgement:
    """Judge a call that returned: every expected view exactly once, each with success true.

    A view without a row, with two rows, or without a success flag has failed. Rows of unknown views are named
    (at most five) and change nothing else.
    """
    spans = observed_spans(samples, total_seconds)
    by_view: dict[str, list[ViewReport]] = {}
    unknown: list[str] = []
    for report in reports:
        if report.view in expected and report.view is not None:
            by_view.setdefault(report.view, []).append(report)
        else:
            unknown.append(report.view or "(null)")
    results = [_judge_view(view, by_view.get(view, []), spans.get(view), total_seconds) for view in expected]
    if not any(report.measured_seconds is not None for report in reports):
        results = _without_lost_minutes(results, total_seconds)
    good = sum(result.success for result in results)
    first = next((result for result in results if not result.success), None)
    return Judgement(
        Outcome.OK if results and first is None else Outcome.PARTIAL if good else Outcome.FAILED,
        first.reason if first else None,
        first.sqlstate if first else None,
        f"{first.view}: {first.error}" if first else None,
        tuple(results),
        tuple(sorted(set(unknown))[:_MOST_UNKNOWN]),
    )


def _judge_view(view: str, rows: Sequence[ViewReport], span: Span | None, total_seconds: float) -> ViewResult:
    observed = span.observed if span else None
    if not rows:
        text = "the function returned no row for this view"
        return ViewResult(view, False, Reason.MISSING, error=text, observed_seconds=observed)
    if len(rows) > 1:
        text = f"the function returned {len(rows)} rows for this view"
        return ViewResult(view, False, Reason.DUPLICATED, error=text, observed_seconds=observed)
    (row,) = rows
    if row.measured_seconds is not None:
        observed = row.measured_seconds
        duration: float | None = row.measured_seconds
    else:
        duration = true_seconds(row.reported_seconds, span, total_seconds)
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
        duration_seconds=duration,
        reported_seconds=row.reported_seconds,
        observed_seconds=observed,
    )


def _without_lost_minutes(results: list[ViewResult], total_seconds: float) -> list[ViewResult]:
    """Believe no unobserved duration of a call in which a minute or more is unaccounted for."""
    known = sum(result.duration_seconds or 0.0 for result in results)
    if total_seconds - known < _LOST_SECONDS:
        return results
    return [replace(result, duration_seconds=None) if result.observed_seconds is None else result for result in results]


def judge_fault(expected: Sequence[str], fault: DatabaseFault, *, cancelled: bool) -> Judgement:
    """Judge a call that raised: nothing it did is visible, so every view was rolled back.

    `cancelled` tells that this daemon was asked to stop; any other cancellation is a timeout. A connection
    lost during COMMIT leaves the outcome unknown until the status function has been asked.
    """
    reason = fault.reason
    if fault.error_class is ErrorClass.CANCELLED or fault.reason is Reason.TIMEOUT:
        outcome = Outcome.CANCELLED if cancelled else Outcome.TIMEOUT
        reason = Reason.SHUTDOWN if cancelled else Reason.TIMEOUT
    elif fault.committing:
        outcome = Outcome.UNKNOWN
    else:
        outcome = Outcome.CANCELLED if cancelled else Outcome.FAILED
    view_reason = reason if fault.error_class in _VIEWLESS else Reason.ROLLED_BACK
    results = tuple(
        ViewResult(view, False, view_reason, sqlstate=fault.sqlstate, error=fault.message) for view in expected
    )
    return Judgement(outcome, reason, fault.sqlstate, fault.message, results)
