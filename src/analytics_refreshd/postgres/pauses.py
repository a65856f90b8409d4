"""Suspending refreshes, by the same SQL functions that a person may call from psql."""

from datetime import datetime, timedelta

from analytics_refreshd.postgres.session import Session
from analytics_refreshd.postgres.sqlfiles import blocks


def pause(session: Session, length: timedelta, reason: str) -> datetime:
    """Suspend refreshes for `length`; returns when that ends. Raises DatabaseFault."""
    values = {"length": length, "reason": reason}
    row = session.run(lambda connection: connection.execute(blocks("pauses.sql")["pause"], values).fetchone())
    ends_at: datetime = row[0] if row else datetime.min
    return ends_at


def resume(session: Session) -> int:
    """End every pause in force; returns how many there were. Raises DatabaseFault."""
    row = session.run(lambda connection: connection.execute(blocks("pauses.sql")["resume"]).fetchone())
    return int(row[0]) if row else 0
