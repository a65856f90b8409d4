"""Pause and resume, for the command line."""

from datetime import datetime, timedelta

from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import connection_settings
from analytics_refreshd.core.errors import DatabaseFault, UsageError
from analytics_refreshd.core.model import Reason
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.state import pauses

_LONGEST = timedelta(days=7)


def pause_refreshes(config: Config, length: timedelta, reason: str) -> datetime:
    """Suspend refreshes; returns until when. UsageError for what cannot be asked, DatabaseFault for a refusal."""
    if length <= timedelta(0):
        raise UsageError("a pause must be over zero; `analytics-refreshd resume` ends one")
    if length > _LONGEST:
        raise UsageError("a pause lasts at most 7d: it always ends by itself, so that nobody can forget it")
    if not reason.strip():
        raise UsageError("a pause needs a reason, for the person who is paged")
    session = Session(Connector(connection_settings(config)))
    try:
        return pauses.pause(session, length, reason.strip())
    except DatabaseFault as fault:
        raise _explained(fault, "pause") from fault
    finally:
        session.close()


def resume_refreshes(config: Config) -> int:
    """End every pause; returns how many there were."""
    session = Session(Connector(connection_settings(config)))
    try:
        return pauses.resume(session)
    except DatabaseFault as fault:
        raise _explained(fault, "resume") from fault
    finally:
        session.close()


def _explained(fault: DatabaseFault, what: str) -> DatabaseFault:
    if fault.reason is Reason.UNDEFINED:
        return fault.reworded("this database cannot keep a pause: `analytics-refreshd migrate` adds the schema for it")
    if fault.reason is Reason.PERMISSION:
        return fault.reworded(f"this role may not {what} ({fault.message}): `analytics-refreshd check` shows the grant")
    return fault
