"""Suspends refreshes by SQL functions that people may call, too."""

from datetime import datetime, timedelta
from typing import Any

from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import refuse_untrusted


def pause(session: Session, length: timedelta, reason: str) -> datetime:
    """Suspend refreshes for `length`; return when that ends. Raises DatabaseFault."""
    ((ends_at,),) = _call(session, "pause", {"length": length, "reason": reason})
    until: datetime = ends_at
    return until


def resume(session: Session) -> int:
    """End every pause in force; return how many there were. Raises DatabaseFault."""
    ((ended,),) = _call(session, "resume", {})
    return int(ended)


def _call(session: Session, name: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    def work(connection: BoundedConnection) -> list[tuple[Any, ...]]:
        refuse_untrusted(connection, session.app_schema)
        return connection.execute(blocks("state/pauses.sql")[name], values).fetchall()

    return session.run(work)
