"""Everything the page shows, as one dictionary: the page renders it, `/status.json` prints it."""

import json
import math
from statistics import median
from typing import Any

from analytics_refreshd.core.alerts.lifecycle import AlertRecord
from analytics_refreshd.core.model import Blocker, Run, ViewResult
from analytics_refreshd.core.picture import ServiceState, ViewState
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.wording import blocked_by
from analytics_refreshd.observe import reading
from analytics_refreshd.observe.jsonable import plain
from analytics_refreshd.observe.page.notices import headline, notices
from analytics_refreshd.observe.page.timeline import Timeline, timeline

RECENT = 60
"""How many past runs of a view are shown."""

_READ_CHARACTERS = 4096
"""Of an error text of megabytes only the beginning is looked at; a kilobyte of it is shown."""


def render_status(state: ServiceState, monotonic: float) -> bytes:
    """The body of `/status.json`; see deploy/guides/status-json.md."""
    document = picture(state, monotonic)
    try:
        text = json.dumps(document, default=plain, allow_nan=False, separators=(",", ":"))
    except ValueError:
        # A number that JSON lacks: the slower way finds it and writes null.
        text = json.dumps(plain(document, depth=12), allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def picture(state: ServiceState, monotonic: float) -> dict[str, Any]:
    """The daemon at this moment. Values are as in `core`: aware datetimes, seconds, counts; None is unknown."""
    now, server_now = reading.now(state, monotonic), reading.server_now(state, monotonic)
    head = headline(state, monotonic)
    waited = max(0.0, monotonic - state.taken_monotonic)
    return {
        "generated_at": now,
        "server_now": server_now,
        "database": state.database,
        "replica": state.replica,
        "version": state.version,
        "role": state.role,
        "mode": state.mode,
        "isolation": state.isolation,
        "headline": {"level": head.level, "text": _text(head.text)},
        "notices": [{"level": notice.level, "text": _text(notice.text)} for notice in notices(state, monotonic)],
        "interval_seconds": state.limits.interval_seconds,
        "next_run_at": state.next_run_at,
        "evaluated_seconds_ago": (
            None if state.evaluated_monotonic is None else reading.since_evaluation_seconds(state, monotonic)
        ),
        "database_up": state.database_up,
        "database_down_since": None if state.database_up else state.database_down_since,
        "database_error": None if state.database_up else _text(state.database_error),
        "leader": _leader(state),
        "pause": reading.pause(state, monotonic),
        "progress": _progress(state, waited),
        "rates": _rates(state),
        "views": [_view(state, view, monotonic) for view in state.views],
        "alerts": [_alert(record) for record in state.alerts],
        "receivers": [{"name": name, "state": _text(text)} for name, text in (state.delivery or {}).items()],
        "slots": _slots(timeline(state.runs, state.limits, now, server_now)),
        "history": {"available": state.history_available, "pending": state.history_pending},
        "delta": state.delta,
    }


def _text(text: str | None) -> str | None:
    return None if text is None else str(plain(printable(text[:_READ_CHARACTERS]) + _length_note(text)))


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and math.isfinite(seconds) else None


def _length_note(text: str) -> str:
    return f"… ({len(text)} characters)" if len(text) > _READ_CHARACTERS else ""


def _leader(state: ServiceState) -> dict[str, Any] | None:
    if state.leader is None:
        return None
    return {
        "replica": state.leader.replica,
        "pid": state.leader.pid,
        "since": state.leader.since,
        "ours": state.leader.ours,
    }


def _blocker(blocker: Blocker | None, waiting_seconds: float | None) -> dict[str, Any] | None:
    if blocker is None:
        return None
    return {
        "pid": blocker.pid,
        "user": _text(blocker.user),
        "application": _text(blocker.application),
        "state": blocker.state,
        "query_started_at": blocker.query_started_at,
        "transaction_started_at": blocker.transaction_started_at,
        "wait_event": blocker.wait_event,
        "text": _text(blocked_by(blocker, waiting_seconds)),
    }


def _progress(state: ServiceState, waited: float) -> dict[str, Any] | None:
    progress = state.progress
    if progress is None:
        return None
    waiting = None if progress.waiting_seconds is None else progress.waiting_seconds + waited
    return {
        "run_id": progress.run_id,
        "started_at": progress.started_at,
        "elapsed_seconds": progress.elapsed_seconds + waited,
        "view": progress.view,
        "view_seconds": None if progress.view_seconds is None else progress.view_seconds + waited,
        "waiting_seconds": waiting,
        "blocker": _blocker(progress.blocker, waiting),
    }


def _rates(state: ServiceState) -> dict[str, Any]:
    rates, limits = state.rates, state.limits
    return {
        "executions": rates.executions if rates else None,
        "success_rate_percent": rates.success_rate_percent if rates else None,
        "success_rate_min_percent": limits.success_rate_min_percent,
        "latency_p95_seconds": rates.latency_p95_seconds if rates else None,
        "latency_p95_max_seconds": limits.latency_p95_max_seconds,
        "min_executions": limits.min_executions,
    }


def _view(state: ServiceState, view: ViewState, monotonic: float) -> dict[str, Any]:
    # `recent` is read oldest first, whichever way it came.
    points = sorted(view.recent, key=lambda point: point.started_at)[-RECENT:]
    durations = [
        seconds for point in points if point.success and (seconds := _finite(point.duration_seconds)) is not None
    ]
    counts = [point.rows for point in points if point.success and point.rows is not None]
    return {
        "view": view.view,
        "verdict": reading.current_verdict(state, view, monotonic),
        "age_seconds": reading.age_seconds(state, view, monotonic),
        "last_success_at": view.age.last_success_at if view.age else None,
        "doubt": view.age.doubt if view.age else None,
        "max_age_seconds": reading.max_age_seconds(state.limits, view.view),
        "critical_age_seconds": reading.critical_age_seconds(state.limits, view.view),
        "rows": view.rows,
        "rows_change": counts[-1] - counts[-2] if len(counts) > 1 else None,
        "size_bytes": view.size_bytes,
        "last_run": _last_run(view),
        "last_error": _last_error(view),
        "median_duration_seconds": median(durations) if durations else None,
        "slow_seconds": state.limits.slow_seconds,
        "recent": [
            {
                "run_id": point.run_id,
                "started_at": point.started_at,
                "success": point.success,
                "duration_seconds": _finite(point.duration_seconds),
                "rows": point.rows,
            }
            for point in points
        ],
    }


def _result(view: ViewState) -> ViewResult | None:
    if view.last is None:
        return None
    return next((result for result in view.last.views if result.view == view.view), None)


def _last_run(view: ViewState) -> dict[str, Any] | None:
    run, result = view.last, _result(view)
    if run is None or result is None:
        return None
    return {
        "run_id": run.run_id,
        "started_at": run.started_at,
        "success": result.success,
        "reason": result.reason,
        "sqlstate": result.sqlstate,
        "duration_seconds": _finite(result.duration_seconds),
        "reported_seconds": _finite(result.reported_seconds),
        "rows": result.rows,
    }


def _last_error(view: ViewState) -> dict[str, Any] | None:
    run, result = view.last, _result(view)
    if run is not None and result is not None and not result.success:
        return {"at": run.started_at, "run_id": run.run_id, "text": _text(result.error), "current": True}
    failed = [point for point in view.recent if not point.success]
    if not failed:
        return None
    point = max(failed, key=lambda point: point.started_at)
    return {"at": point.started_at, "run_id": point.run_id, "text": _text(point.error), "current": False}


def _alert(record: AlertRecord) -> dict[str, Any]:
    return {
        "alert": record.alert,
        "view": record.view,
        "state": record.state,
        "severity": record.severity,
        "active_at": record.active_at,
        "fired_at": record.fired_at,
        "resolved_at": record.resolved_at,
        "summary": _text(record.summary),
        "description": _text(record.description),
        "run_id": record.run_id,
    }


def _slots(row: Timeline) -> dict[str, Any]:
    return {
        "cell_seconds": row.cell_seconds,
        "cells": [
            {"starts_at": cell.starts_at, "state": cell.state, "runs": cell.count, **_run(cell.run)}
            for cell in row.cells
        ],
    }


def _run(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {}
    return {
        "run_id": run.run_id,
        "outcome": run.outcome or "running",
        "reason": run.reason,
        "duration_seconds": _finite(run.duration_seconds),
    }
