"""What the incremental mode is doing: cheap enough to ask at every evaluation."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.postgres.incremental.commands import block

Connection = psycopg.Connection[Any]

_BACKLOG_COUNTED = 1_000_000


@dataclass(frozen=True, slots=True)
class IncrementalState:
    """What `state` found. `delta_rows` counts to 1,000,000 at most; times are the server's.

    `rebuild_reason` is None unless the next refresh rebuilds the rollups. `uncaptured` names tables that lack
    a capture trigger, or have one that does not fire for every session: changes are missed until `install` ran again.
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
    """Mode, backlog, builds and last verification: a few index and catalog look-ups. `plain` where nothing is ours."""
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
    """Whether the objects of the incremental mode are there, finished or not."""
    row = connection.execute(block("install", "exists")).fetchone()
    return bool(row and row[1])
