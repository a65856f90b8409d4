"""Suspends refreshes by SQL functions that people may call, too."""

from datetime import datetime, timedelta

from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import refuse_untrusted


def pause(session: Session, length: timedelta, reason: str) -> datetime:
    """Suspend refreshes for `length`; return when that ends. Raises DatabaseFault."""

    def work(connection: BoundedConnection) -> datetime:
        refuse_untrusted(connection, session.app_schema)
        return pause_on(connection, length, reason)

    return session.run(work)


def resume(session: Session) -> int:
    """End every pause in force; return how many there were. Raises DatabaseFault."""

    def work(connection: BoundedConnection) -> int:
        refuse_untrusted(connection, session.app_schema)
        return resume_on(connection)

    return session.run(work)


def pause_on(connection: BoundedConnection, length: timedelta, reason: str) -> datetime:
    """Suspend refreshes, in a transaction that found the schema trusted. Raises psycopg.Error."""
    ((ends_at,),) = connection.execute(blocks("state/pauses.sql")["pause"], {"length": length, "reason": reason})
    until: datetime = ends_at
    return until


def resume_on(connection: BoundedConnection) -> int:
    """End every pause, in a transaction that found the schema trusted. Raises psycopg.Error."""
    ((ended,),) = connection.execute(blocks("state/pauses.sql")["resume"])
    return int(ended)
