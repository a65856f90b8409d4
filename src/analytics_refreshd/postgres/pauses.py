"""Suspending refreshes, by the same SQL functions that a person may call from psql."""

from datetime import datetime, timedelta
from typing import Any

from analytics_refreshd.postgres.bounded import BoundedConnection
from analytics_refreshd.postgres.session import Session
from analytics_refreshd.postgres.sqlfiles import blocks
from analytics_refreshd.postgres.trust import require_trusted


def pause(session: Session, length: timedelta, reason: str) -> datetime:
    """Suspend refreshes for `length`; returns when that ends. Raises DatabaseFault."""
    ((ends_at,),) = _call(session, "pause", {"length": length, "reason": reason})
    until: datetime = ends_at
    return until


def resume(session: Session) -> int:
    """End every pause in force; returns how many there were. Raises DatabaseFault."""
    ((ended,),) = _call(session, "resume", {})
    return int(ended)


def _call(session: Session, name: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    def work(connection: BoundedConnection) -> list[tuple[Any, ...]]:
        require_trusted(connection, session.app_schema)
        return connection.execute(blocks("pauses.sql")[name], values).fetchall()

    return session.run(work)
