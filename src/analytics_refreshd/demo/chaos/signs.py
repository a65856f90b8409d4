"""Decide where a piece of evidence shows a break."""

from collections.abc import Mapping

from analytics_refreshd.demo.chaos.model import LOCK_HOLDER, Break, Evidence, Kind, Logged, Shown

RUN_ENDED = "refresh.finished"
SLOW_SECONDS = 1.0
"""A refresh that takes longer is slow."""


def sign(broken: Break, evidence: Evidence) -> str | None:
    """Return where the evidence shows the break; None where it does not."""
    if isinstance(evidence, Logged):
        return _sign_in_log(broken, evidence)
    if isinstance(evidence, Shown):
        return _sign_shown(broken, evidence)
    return None


def _sign_in_log(broken: Break, line: Logged) -> str | None:
    found: str | None = None
    match broken.kind:
        case Kind.KILL if line.event == "leader.acquired" and line.replica != broken.replica:
            return f"log: leader.acquired by {line.replica}"
        case Kind.STOP if line.event == "database.lost":
            return "log: database.lost"
        case Kind.LOCK if line.event == "view.blocked":
            return "log: view.blocked"
        case Kind.LOCK | Kind.DROP | Kind.REVOKE if line.event == RUN_ENDED:
            found = next((_reason(one) for one in line.results() if _fails(one, broken.view)), None)
        case Kind.SLOW if line.event == RUN_ENDED:
            found = next((f"{_seconds(one):.1f} s" for one in line.results() if _seconds(one) > SLOW_SECONDS), None)
    return f"log: {line.event}, {found}" if found else None


def _fails(result: Mapping[str, object], view: str) -> bool:
    return result.get("view") == view and result.get("success") is False


def _reason(result: Mapping[str, object]) -> str:
    return str(result.get("reason") or "failed")


def _seconds(result: Mapping[str, object]) -> float:
    seconds = result.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def _sign_shown(broken: Break, shown: Shown) -> str | None:
    match broken.kind:
        case Kind.KILL if shown.leads and shown.replica != broken.replica:
            return f"gauge: analytics_leader of {shown.replica} is 1"
        case Kind.STOP if not shown.database_up:
            return "gauge: analytics_database_up is 0"
        case Kind.LOCK if shown.blocker == LOCK_HOLDER:
            return f"status document: blocked by {LOCK_HOLDER}"
        case Kind.LOCK | Kind.DROP | Kind.REVOKE if broken.view in shown.failing:
            return "gauge: analytics_view_refresh_success is 0"
        case Kind.SLOW if shown.slowest_seconds > SLOW_SECONDS:
            return f"gauge: analytics_refresh_duration_seconds is {shown.slowest_seconds:.1f}"
    return None
