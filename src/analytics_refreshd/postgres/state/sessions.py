"""Sessions as leaders and blockers of the model; the server's time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from analytics_refreshd.core.model import Blocker, LeaderInfo
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_OURS = "analytics-refreshd/"
_MOST_CHARACTERS = 63


def server_now(connection: BoundedConnection) -> datetime:
    """Read the server's time."""
    now: datetime = connection.execute(blocks("state/status.sql")["server_now"]).fetchall()[0][0]
    return now


def leader_of(row: Mapping[str, Any], replica: str | None = None) -> LeaderInfo:
    """Read the leader lock's holder from a row of `leader` or `other_holder`.

    `replica` is its name in history; None takes what the session says of itself.
    """
    pid, application, role = row["pid"], row["application_name"], row["usename"]
    ours = str(application or "").startswith(_OURS)
    if replica is None:
        replica = shown(application) or (f"role {shown(role)}" if role else None) or f"pid {pid}"
        if not ours and application and role:
            replica = f"{replica} (role {shown(role)})"
    return LeaderInfo(replica, int(pid), row["backend_start"], ours)


def blocker_of(rows: Sequence[Mapping[str, Any]]) -> Blocker | None:
    """Read the first row of `blocker`; None without rows.

    pg_stat_activity shows the state of another role's session only to roles with pg_read_all_stats.
    """
    if not rows:
        return None
    row = rows[0]
    if row["pid"] == 0:
        return Blocker(0, None, "a prepared transaction", None, None, None, None)
    # autovacuum and the like have no application
    process = row["backend_type"] if row["backend_type"] != "client backend" else None
    return Blocker(
        pid=int(row["pid"]),
        user=shown(row["usename"]),
        application=shown(process or row["application_name"]),
        state=shown(row["state"]),
        query_started_at=row["query_start"],
        transaction_started_at=row["xact_start"],
        wait_event=shown(row["wait_event"]),
        visible=row["state"] is not None or process is not None,
    )


def server_of(connection: BoundedConnection) -> str:
    """Name the database and host that a connection leads to.

    For example `app at db1.example.com:5432`.
    """
    info = connection.info
    return printable(f"{info.dbname} at {info.host or info.hostaddr}:{info.port}")


def shown(text: object) -> str | None:
    """Make a name that another session chose safe to print."""
    return printable(str(text))[:_MOST_CHARACTERS] or None if text else None
