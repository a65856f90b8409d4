"""When the parts of an attempt began and ended, for its trace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analytics_refreshd.core.model import LockSample, Run, ViewReport, ViewResult
from analytics_refreshd.core.timing import view_ends


@dataclass(frozen=True, slots=True)
class PartSpan:
    """A part of an attempt, in seconds from the refresher's call. `reason` says why it failed."""

    name: str
    began_seconds: float
    ended_seconds: float
    attributes: Mapping[str, str | int | float | bool]
    reason: str | None = None


def part_spans(
    results: Sequence[ViewResult],
    reports: Sequence[ViewReport],
    samples: Sequence[LockSample],
    *,
    fold_seconds: float | None,
    total_seconds: float,
) -> list[PartSpan]:
    """Return the fold and every view of a call that returned.

    A view in a transaction of its own began when the refresher says. Any other is placed by the lock watch, else behind
    the one before, in the order of the rows. One of unknown duration is left out: nobody knows where it lies.
    """
    found = []
    folded = 0.0
    if fold_seconds is not None:
        fresh = min((report.fresh_seconds for report in reports if report.fresh_seconds is not None), default=0.0)
        folded = min(max(fold_seconds, fresh), total_seconds)
        found.append(PartSpan("fold", max(0.0, folded - fold_seconds), folded, {}))
    known = {result.view: result for result in results if result.duration_seconds is not None}
    alone = {report.view: report.began_seconds for report in reports if report.began_seconds is not None}
    took = {each.view: known[each.view].duration_seconds for each in reports if each.view in known}
    ends = view_ends(took, samples, total_seconds, folded)
    for view, seconds in took.items():
        began = alone.get(view, max(0.0, ends[view] - (seconds or 0.0)))
        found.append(_of_view(known[view], began, min(began + (seconds or 0.0), total_seconds)))
    return found


def _of_view(result: ViewResult, began: float, ended: float) -> PartSpan:
    known: dict[str, str | int | float | bool | None] = {
        "analytics.view": result.view,
        "analytics.rows": result.rows,
        "analytics.rows_changed": result.rows_changed,
        "db.response.status_code": result.sqlstate,
        **{f"analytics.{name}": figure for name, figure in (result.cost.known() if result.cost else {}).items()},
    }
    attributes = {name: value for name, value in known.items() if value is not None}
    reason = None if result.success else result.reason.value if result.reason else "other"
    return PartSpan(f"view {result.view}", min(began, ended), ended, attributes, reason)


def seen_spans(samples: Sequence[LockSample], total_seconds: float, reason: str) -> list[PartSpan]:
    """Return the views of a call that failed as a whole.

    They begin as the lock watch saw them. Each lasts until the next one was seen; the last one failed for `reason`, and
    what was done before was rolled back.
    """
    began: dict[str, float] = {}
    for sample in samples:
        for view in sorted(sample.held | sample.waiting):
            began.setdefault(view, min(sample.at_seconds, total_seconds))
    starts = sorted(began.items(), key=lambda each: each[1])
    ends = [*(start for _, start in starts[1:]), total_seconds]
    return [
        PartSpan(
            f"view {view}",
            start,
            end,
            {"analytics.view": view},
            reason if place == len(starts) - 1 else "rolled_back",
        )
        for place, ((view, start), end) in enumerate(zip(starts, ends, strict=False))
    ]


def run_attributes(run: Run) -> dict[str, str | int | float | bool]:
    """Return what a finished run's span tells: what its line in the log does."""
    known: dict[str, str | int | float | bool | None] = {
        "analytics.run_id": str(run.run_id),
        "analytics.origin": run.origin.value,
        "analytics.outcome": run.outcome.value if run.outcome else None,
        "analytics.reason": run.reason.value if run.reason else None,
        "analytics.attempts": run.attempts,
        "analytics.isolation": run.isolation,
        "analytics.lateness_seconds": run.lateness_seconds,
        "analytics.rows_folded": run.rows_folded,
        "db.response.status_code": run.sqlstate,
        **{f"analytics.{name}": figure for name, figure in (run.cost.known() if run.cost else {}).items()},
    }
    return {name: value for name, value in known.items() if value is not None}
