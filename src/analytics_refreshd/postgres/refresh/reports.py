"""Reads a refresh function's rows as reports. An older install may return anything."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.errors import DatabaseFault, classify
from analytics_refreshd.core.evidence import ROLLUP_VIEWS
from analytics_refreshd.core.model import ViewReport
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.errors import split_state
from analytics_refreshd.postgres.connection.server import BIGGEST_BIGINT
from analytics_refreshd.postgres.refresh.messages import sqlstate_of

_MOST_NAME_CHARACTERS = 200
_LOST_SECONDS = 59.0


def report_of(row: Sequence[Any]) -> ViewReport:
    """Read a row of the block `answer`; unusable values become None."""
    view, duration_ms, rows, success, error, rows_changed = row
    sqlstate, reason, text = split_state(error)
    if error and sqlstate is None and (sqlstate := sqlstate_of(error)) is not None:
        reason = classify(sqlstate, connected=True, closed=False)[1]
    milliseconds_reported = _number(duration_ms)
    count = _number(rows)
    return ViewReport(
        printable(view)[:_MOST_NAME_CHARACTERS] if view is not None else None,
        milliseconds_reported / 1000 if milliseconds_reported is not None else None,
        int(count) if count is not None and count <= BIGGEST_BIGINT else None,
        {"true": True, "false": False}.get(success or ""),
        error=text,
        sqlstate=sqlstate,
        reason=reason,
        rows_changed=rows_changed if success == "true" else None,
    )


def measured(
    report: ViewReport, view: str, seconds: float, fresh_seconds: float, cost: Cost | None, *, began_seconds: float
) -> ViewReport:
    """Add what was measured to the report of a view refreshed alone."""
    return replace(
        report,
        view=view,
        measured_seconds=seconds,
        fresh_seconds=fresh_seconds,
        cost=cost,
        began_seconds=began_seconds,
    )


def own_seconds(reports: Sequence[ViewReport], call_seconds: float) -> float:
    """Return how long the refresh itself took within a call: a function also counts and records.

    Its own figure counts, unless it lacks whole minutes.
    """
    reported = [report.reported_seconds for report in reports if report.reported_seconds is not None]
    plausible = len(reported) == 1 and call_seconds - _LOST_SECONDS < reported[0] < call_seconds
    return reported[0] if plausible else call_seconds


def fresh_as_folded(reports: Sequence[ViewReport], folded_seconds: float | None) -> tuple[ViewReport, ...]:
    """Make views of the rollups as fresh as the fold before.

    That ended at `folded_seconds`; None where nothing was folded. The recent failures are read from the table itself.
    """
    if folded_seconds is None:
        return tuple(reports)
    return tuple(
        replace(report, fresh_seconds=min(folded_seconds, report.fresh_seconds or folded_seconds))
        if report.view in ROLLUP_VIEWS
        else report
        for report in reports
    )


def failed(view: str, fault: DatabaseFault, seconds: float | None, *, began_seconds: float | None = None) -> ViewReport:
    """Report a view that `fault` ended after `seconds`.

    It began `began_seconds` into the call. Both are None where it never began.
    """
    return ViewReport(
        view,
        None,
        None,
        False,
        error=fault.message,
        sqlstate=fault.sqlstate,
        reason=fault.reason,
        measured_seconds=seconds,
        began_seconds=began_seconds,
    )


def _number(text: str | None) -> float | None:
    """Read a finite number from 0 up; None for anything else."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
