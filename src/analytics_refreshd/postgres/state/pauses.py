"""Suspends refreshes by SQL functions that people may call, too."""

from datetime import datetime, timedelta

from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks


def pause(session: Session, length: timedelta, reason: str) -> datetime:
    """Suspend refreshes for `length`; return when that ends. Raises DatabaseFault."""
    values = {"length": length, "reason": reason}
    ((ends_at,),) = session.run(
        lambda connection: connection.execute(blocks("state/pauses.sql")["pause"], values).fetchall()
    )
    until: datetime = ends_at
    return until


def resume(session: Session) -> int:
    """End every pause in force; return how many there were. Raises DatabaseFault."""
    ((ended,),) = session.run(lambda connection: connection.execute(blocks("state/pauses.sql")["resume"]).fetchall())
    return int(ended)
