"""Rows of pg_stat_activity as the values of the model: of leaders, and of those whom a refresh waits for."""

from collections.abc import Sequence
from typing import Any

from analytics_refreshd.core.model import Blocker, LeaderInfo
from analytics_refreshd.core.redaction import printable

_OURS = "analytics-refreshd/"
_MOST_CHARACTERS = 63


def leader_of(row: Sequence[Any], replica: str | None = None) -> LeaderInfo:
    """The holder of the leader lock from (pid, application_name, role, backend_start).

    `replica` is its name where history knows it; else what the session says of itself.
    """
    pid, application, role, since = row
    ours = str(application or "").startswith(_OURS)
    if replica is None:
        replica = shown(application) or (f"role {shown(role)}" if role else None) or f"pid {pid}"
        if not ours and application and role:
            replica = f"{replica} (role {shown(role)})"
    return LeaderInfo(replica, int(pid), since, ours)


def blocker_of(rows: Sequence[Sequence[Any]]) -> Blocker | None:
    """The blocking session from (pid, user, application, state, query start, transaction start, wait event, type).

    Of another role's session pg_stat_activity shows this role no state, unless it has pg_read_all_stats.
    """
    if not rows:
        return None
    pid, user, application, state, query_started_at, transaction_started_at, wait_event, kind = rows[0]
    if pid == 0:
        return Blocker(0, None, "a prepared transaction", None, None, None, None)
    if kind is not None and kind != "client backend":
        application = kind
    return Blocker(
        pid=int(pid),
        user=shown(user),
        application=shown(application),
        state=shown(state),
        query_started_at=query_started_at,
        transaction_started_at=transaction_started_at,
        wait_event=shown(wait_event),
        visible=state is not None or (kind is not None and kind != "client backend"),
    )


def shown(text: object) -> str | None:
    """A name that another session chose, safe to print; None where it has none."""
    return printable(str(text))[:_MOST_CHARACTERS] or None if text else None
