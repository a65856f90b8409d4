"""Reads the incremental mode's state, cheaply enough for every evaluation."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.commands import block

_BACKLOG_COUNTED = 1_000_000


@dataclass(frozen=True, slots=True)
class IncrementalState:
    """What `state` found; times are the server's.

    `delta_rows` counts to 1,000,000 at most. `rebuild_reason` is None unless the next refresh rebuilds the rollups.
    `uncaptured` names tables whose capture triggers are missing or do not fire for every session: changes are missed
    until `install` has run again.
    """

    mode: str
    delta_rows: int | None = None
    built: bool = False
    rebuild_reason: str | None = None
    fold_seconds: float | None = None
    verified_at: datetime | None = None
    verified_ok: bool | None = None
    verified_differences: int | None = None
    uncaptured: tuple[str, ...] = ()


def state(connection: Connection) -> IncrementalState:
    """Read mode, backlog, builds and last verification.

    Costs a few index and catalogue look-ups. The mode is `plain` where nothing is installed.
    """
    ours, incremental = connection.execute(block("install", "exists")).fetchone() or (False, False)
    row = connection.execute(block("install", "mode")).fetchone() if ours else None
    mode = str(row[0]) if row else "plain"
    if not incremental:
        return IncrementalState(mode)
    pending = connection.execute(block("install", "pending", limit=sql.Literal(_BACKLOG_COUNTED))).fetchone()
    found = connection.execute(block("install", "state")).fetchone()
    if found is None or pending is None:
        return IncrementalState(mode)
    return IncrementalState(
        mode=mode,
        delta_rows=int(pending[0]),
        built=bool(found[0]),
        fold_seconds=None if found[1] is None else found[1] / 1000,
        verified_at=found[2],
        verified_ok=found[3],
        verified_differences=found[4],
        rebuild_reason=found[5],
        uncaptured=tuple(found[6]),
    )


def is_installed(connection: Connection) -> bool:
    """Whether the incremental mode's objects exist, finished or not."""
    row = connection.execute(block("install", "exists")).fetchone()
    return bool(row and row[1])
