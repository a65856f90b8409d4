"""Reads a refresh function's rows as reports. An older install may return anything."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import ViewReport
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.errors import split_state
from analytics_refreshd.postgres.connection.server import BIGGEST_BIGINT

_MOST_NAME_CHARACTERS = 200


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


def _number(text: str | None) -> float | None:
    """Read a finite number from 0 up; None for anything else."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
