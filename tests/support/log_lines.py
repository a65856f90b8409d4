"""Hand-written log lines, as the daemon writes them."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.incident.fold import DatabaseFold
from analytics_refreshd.incident.model import DatabaseLog

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """That long after noon."""
    return NOON + timedelta(minutes=minutes)


def stamp(minutes: float) -> str:
    """The same as a log has it."""
    return at(minutes).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(minutes: float, event: str, *, database: str = "shop", replica: str = "r1", level: str = "info",
         **fields: Any) -> dict[str, Any]:  # fmt: skip
    """One line."""
    head = {"timestamp": stamp(minutes), "level": level, "event": event, "database": database, "replica": replica}
    return head | fields


def run(minutes: float, outcome: str = "ok", *, success: tuple[bool, ...] | None = None, sqlstate: str | None = None,
        reason: str | None = None, error: str | None = None, view_reason: str | None = None, seconds: float = 6.0,
        number: int = 0, **fields: Any) -> dict[str, Any]:  # fmt: skip
    """`refresh.finished`, `seconds` after its slot at `minutes`."""
    succeeded = success or tuple(outcome == "ok" for _ in VIEWS)
    views: list[dict[str, Any]] = []
    for view, good in zip(VIEWS, succeeded, strict=True):
        part: dict[str, Any] = {"view": view, "success": good, "seconds": 1.0, "rows": 5 if good else None}
        if not good:
            part |= {"reason": view_reason or reason, "sqlstate": sqlstate, "error": error}
        views.append(part)
    run_id = f"00000000-0000-4000-8000-{number or int(minutes * 10):012d}"
    body = {
        "run_id": run_id,
        "origin": "schedule",
        "outcome": outcome,
        "reason": reason,
        "sqlstate": sqlstate if reason else None,
        "error": error if reason else None,
        "scheduled_at": stamp(minutes),
        "started_at": stamp(minutes),
        "duration_seconds": seconds,
        "lateness_seconds": 0.0,
        "attempts": 1,
        "isolation": "cycle",
        "views": views,
    }
    level = "info" if outcome in ("ok", "skipped", "cancelled") else "warning"
    return line(minutes + seconds / 60, "refresh.finished", level=level, **(body | fields))


def fold(lines: Iterable[dict[str, Any]]) -> DatabaseLog:
    """The lines of one database, folded in the order of time."""
    made = DatabaseFold("shop")
    for item in sorted(lines, key=lambda item: str(item["timestamp"])):
        made.add(datetime.fromisoformat(item["timestamp"]), item)
    result = made.result()
    assert result is not None
    return result


def text(lines: Iterable[dict[str, Any]]) -> str:
    """The lines as the daemon prints them."""
    return "".join(json.dumps(item, separators=(",", ":")) + "\n" for item in lines)


def lock_incident() -> list[dict[str, Any]]:
    """Half an hour: a view's lock held by nightly-etl for two slots, an alert, its delivery, and the recovery."""
    held: dict[str, Any] = {"success": (True, True, False, True), "sqlstate": "55P03", "view_reason": "lock_timeout",
            "error": "canceling statement due to lock timeout"}  # fmt: skip
    alert = {"alert": "AnalyticsViewStale", "view": "recent_failures", "severity": "warning"}
    sent = {"receiver": "pager", "host": "hooks.example", "alert": "AnalyticsViewStale", "view": "recent_failures",
            "severity": "warning", "key": "k"}  # fmt: skip
    return [
        line(-10, "daemon.started", interval_seconds=300.0),
        line(-9.9, "leader.acquired", epoch=1),
        run(-5),
        run(0),
        line(5.1, "view.blocked", level="warning", view="recent_failures", waited_seconds=2.5, blocker_pid=812,
             blocker_user="etl", blocker_application="nightly-etl", blocker_state="idle in transaction",
             blocker_transaction_started_at=stamp(4), blocker_visible=True),
        line(5.4, "view.failed", level="warning", view="recent_failures", reason="lock_timeout", sqlstate="55P03",
             error="canceling statement due to lock timeout", run_id="00000000-0000-4000-8000-000000000050"),
        run(5, "partial", seconds=30, **held),
        line(10.1, "view.blocked", level="warning", view="recent_failures", waited_seconds=4.0, blocker_pid=812,
             blocker_application="nightly-etl", blocker_visible=True),
        line(10.15, "view.stale", level="warning", view="recent_failures", age_seconds=606.0, max_age_seconds=600.0,
             last_success_at=stamp(0.05), doubt=None),
        line(10.15, "alert.firing", level="warning", active_at=stamp(10.15), fired_at=stamp(10.15),
             summary="shop: recent_failures is 10 min old", **alert),
        line(10.2, "alert.delivered", status="firing", tries=1, **sent),
        run(10, "partial", seconds=30, **held),
        run(15),
        line(15.2, "alert.resolved", active_at=stamp(10.15), fired_at=stamp(10.15), resolved_at=stamp(15.2), **alert),
        line(15.3, "alert.delivered", status="resolved", tries=2, **sent),
        run(20),
    ]  # fmt: skip
