"""Whether a refresh did what it reports: decisions on what the database shows before and after it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import VIEWS, Reason, ViewReport
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.staleness import interval_seconds, max_age_seconds, verdict

ROLLUP_VIEWS = tuple(view for view in VIEWS if view != "recent_failures")
"""The views that read rollups in incremental mode. A refresh without a fold leaves them as they were."""

_REMEDY = "run analytics-refreshd migrate, which puts its functions in place"


@dataclass(frozen=True, slots=True)
class RollupsBefore:
    """The incremental mode before a refresh: what it must fold, and what shows that it folded.

    `snapshot` is a pg_snapshot: it tells the changes committed by then from later ones. `capture` names the tables and
    their capture triggers. `folded_at` is the time of the last fold, as the server writes it.
    """

    snapshot: str
    capture: str
    folded_at: str | None


@dataclass(frozen=True, slots=True)
class RollupsAfter:
    """The incremental mode after a refresh, compared with `RollupsBefore`.

    `left` counts the changes of before that still wait, up to a limit. `marked` tells whether a rebuild that was due
    before is still due. `built`, `captured`: the rollups are whole, and of the tables and triggers of before or now.
    `folded`: there was a fold in between.
    """

    left: int
    marked: bool
    built: bool
    captured: bool
    folded: bool


def unfolded(after: RollupsAfter) -> str | None:
    """Return what a refresh that reports success left undone, else None.

    A writer that began before the refresh and commits later counts for the next refresh: it is in no snapshot taken
    before its commit.
    """
    if after.left:
        what = f"left {after.left:,} changed rows out"
    elif after.marked:
        what = "left out a rebuild of the rollups that was due"
    elif not after.built:
        what = "read rollups that are not built"
    elif not after.captured:
        what = "read rollups of other tables or capture triggers than there are now"
    elif not after.folded:
        what = "folded nothing"
    else:
        return None
    return f"the function reports success, but {what}: {_REMEDY}"


def disbelieved(
    reports: Iterable[ViewReport], views: Iterable[str], error: str, fault: DatabaseFault | None = None
) -> tuple[ViewReport, ...]:
    """Fail the reported successes of `views`.

    The reason is contract, or that of the fault which kept the success from being verified.
    """
    doubted = set(views)
    reason, sqlstate = (fault.reason, fault.sqlstate) if fault is not None else (Reason.CONTRACT, None)
    return tuple(
        replace(report, success=False, reason=reason, sqlstate=sqlstate, error=error, rows_changed=None)
        if report.success and report.view in doubted
        else report
        for report in reports
    )


def overdue_since(snapshot: Snapshot) -> datetime | None:
    """Return since when changes wait behind views that are reported as refreshed.

    A change that waits for longer than a view may be old is missing in a view that is stale, or wrongly believed.
    Changes count from when they were first read, which is after their commit. Where nothing was folded since the last
    fold, that was before the refresh which dates the views, so it gets an interval of the view more.
    """
    state, now = snapshot.state, snapshot.server_now
    delta, views = state.delta, [view for view in state.views if view in ROLLUP_VIEWS]
    if delta is None or delta.mode != "incremental" or not views:
        return None
    if any(verdict(snapshot.age(view), state.limits).is_stale for view in views):
        return None
    limit = min(max_age_seconds(state.limits, view) for view in views)
    since = [delta.waiting.seen_at] if delta.waiting is not None else []
    found = [at for at in since if (now - at).total_seconds() > limit]
    if delta.pending_rows and delta.folded_at is not None:
        idle_seconds = (now - delta.folded_at).total_seconds()
        most = min(max_age_seconds(state.limits, view) + interval_seconds(state.limits, view) for view in views)
        found += [delta.folded_at] if idle_seconds > most else []
    return min(found, default=None)
