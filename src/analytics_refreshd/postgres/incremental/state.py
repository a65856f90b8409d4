"""Reads the incremental mode's state, cheaply enough for every evaluation."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.rows import dict_row

from analytics_refreshd.core.delta import Waiting, unheld_words
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.commands import block

_BACKLOG_COUNTED = 1_000_000


@dataclass(frozen=True, slots=True)
class IncrementalState:
    """What `state` found; times are the server's.

    `delta_rows` counts to 1,000,000 at most. `rebuild_reason` is None unless the next refresh rebuilds the rollups.
    `uncaptured` names tables whose capture triggers are missing or do not fire for every session: changes are missed
    until `install` has run again. `waiting` has what was seen waiting first, and waits still. `obstacles` says in words
    why changes cannot be captured and counted exactly, `unheld` how many rows have a value that the views cannot hold.
    `frozen_until` is None while nothing is frozen, and so is `late_rows`, how many rows came before it since.
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
    folded_at: datetime | None = None
    waiting: Waiting | None = None
    obstacles: tuple[str, ...] = ()
    unheld: tuple[str, ...] = ()
    frozen_until: datetime | None = None
    late_rows: int | None = None


def state(connection: Connection, waiting: Waiting | None = None) -> IncrementalState:
    """Read mode, backlog, builds and last verification.

    `waiting` is what an earlier call found waiting. Costs a few index and catalogue look-ups. The mode is `plain` where
    nothing is installed.
    """
    ours, incremental = connection.execute(block("install", "exists")).fetchone() or (False, False)
    row = connection.execute(block("install", "mode")).fetchone() if ours else None
    mode = str(row[0]) if row else "plain"
    if not incremental:
        return IncrementalState(mode)
    pending = connection.execute(block("install", "pending", limit=sql.Literal(_BACKLOG_COUNTED))).fetchone()
    found = connection.cursor(row_factory=dict_row).execute(block("install", "state")).fetchone()
    if found is None or pending is None:
        return IncrementalState(mode)
    return IncrementalState(
        mode=mode,
        delta_rows=int(pending[0]),
        waiting=_waiting(connection, waiting),
        obstacles=tuple(text for text, _ in obstacles(connection)),
        unheld=unheld_words(*(found.pop(f"unheld_{kind}") for kind in ("durations", "retries", "keys"))),
        **found | {"uncaptured": tuple(found["uncaptured"])},
    )


def obstacles(connection: Connection) -> tuple[tuple[str, bool], ...]:
    """Return what keeps rollups from being exact.

    Each is a sentence, and whether it stops the fold.
    """
    if connection.execute(block("install", "knows_obstacles")).fetchone() != (True,):
        return ()
    return tuple(sorted((text, stops) for text, stops in connection.execute(block("install", "obstacles")).fetchall()))


def _waiting(connection: Connection, known: Waiting | None) -> Waiting | None:
    """Return `known` while something of it waits, else what waits now."""
    dated = connection.execute(block("install", "changes_dated")).fetchone()
    if dated != (True,):
        return None

    def seen(row: str) -> sql.Composable:
        if known is None:
            return sql.SQL("false")
        return block("install", "seen", row=sql.Identifier(row), snapshot=sql.Literal(known.snapshot))

    query = block("install", "waiting", delta_seen=seen("d"), mark_seen=seen("m"))
    snapshot, now, waits, still = connection.execute(query).fetchall()[0]
    if still:
        return known
    return Waiting(snapshot, now) if waits else None


def is_installed(connection: Connection) -> bool:
    """Whether the incremental mode's objects exist, finished or not."""
    row = connection.execute(block("install", "exists")).fetchone()
    return bool(row and row[1])
