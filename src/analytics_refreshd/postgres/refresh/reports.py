"""Reads a refresh function's rows as reports, and verifies their claims.

An older install may return anything."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Reason, ViewReport
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.errors import split_state
from analytics_refreshd.postgres.connection.server import BIGGEST_BIGINT
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.refresh.transaction import Transaction

_MOST_NAME_CHARACTERS = 200
_NOT_REFRESHED = "the function reports success, but did not refresh the view"


def report_of(row: Sequence[Any]) -> ViewReport:
    """Read a row of `call_function`, all text; unusable values become None."""
    view, duration_ms, rows, success, error = row
    sqlstate, reason, text = split_state(error)
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
    )


def measured(report: ViewReport, view: str, seconds: float) -> ViewReport:
    """Add the measured seconds to the report of a view refreshed alone."""
    return replace(report, view=view, measured_seconds=seconds)


def failed(view: str, fault: DatabaseFault, seconds: float | None) -> ViewReport:
    """Report a view that `fault` ended after `seconds`.

    They are None where it never began.
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
    )


def verify_refreshed(
    transaction: Transaction, reports: Sequence[ViewReport], views: Sequence[str]
) -> tuple[ViewReport, ...]:
    """Fail each reported success of `views` whose view was not refreshed.

    A refresh holds its view's lock until the transaction ends, so this must run in the transaction that refreshed.
    Such a report gets success false and reason contract. In the incremental mode a view that is up to date needs no
    refresh. Where the server cannot answer, the function's report stands.
    """
    claimed = {report.view for report in reports if report.success and report.view is not None} & set(views)
    missing = claimed - _named(transaction, "refreshed_here", claimed)
    if missing and transaction.first["incremental"]:
        missing -= _named(transaction, "nothing_due", missing)
    return tuple(
        replace(report, success=False, reason=Reason.CONTRACT, error=_NOT_REFRESHED)
        if report.success and report.view in missing
        else report
        for report in reports
    )


def _named(transaction: Transaction, query: str, views: set[str]) -> set[str]:
    """Return those of `views` that the query names; all of them where it fails."""
    if not views:
        return set()
    rows = transaction.attempt(sql.SQL(blocks("refresh/refresh.sql")[query]).format(views=sql.Literal(sorted(views))))
    return views if rows is None else {str(name) for (name,) in rows}


def _number(text: str | None) -> float | None:
    """Read a finite number from 0 up; None for anything else."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
