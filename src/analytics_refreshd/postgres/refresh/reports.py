"""A refresh function's rows as reports: whatever an older install's function may return."""

import math
from collections.abc import Sequence
from typing import Any

from analytics_refreshd.core.model import ViewReport
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.errors import split_state

_MOST_NAME_CHARACTERS = 200
_BIGGEST_COUNT = 2**63 - 1


def measured(report: ViewReport, view: str, seconds: float) -> ViewReport:
    """The report of a view that was refreshed alone, with the seconds that this took."""
    return ViewReport(
        view,
        report.reported_seconds,
        report.rows,
        report.success,
        report.error,
        report.sqlstate,
        report.reason,
        measured_seconds=seconds,
    )


def report_of(row: Sequence[Any]) -> ViewReport:
    """A row of `call_function`, all text; what is no usable value is None."""
    view, duration_ms, rows, success, error = row
    sqlstate, reason, text = split_state(error)
    milliseconds_reported = _number(duration_ms)
    count = _number(rows)
    return ViewReport(
        printable(view)[:_MOST_NAME_CHARACTERS] if view is not None else None,
        milliseconds_reported / 1000 if milliseconds_reported is not None else None,
        int(count) if count is not None and count <= _BIGGEST_COUNT else None,
        {"true": True, "false": False}.get(success or ""),
        error=text,
        sqlstate=sqlstate,
        reason=reason,
    )


def _number(text: str | None) -> float | None:
    """A finite number from 0 up, or None."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
