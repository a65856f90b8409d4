"""Whether the status function answers: how it is defined does not tell whether it can be called."""

import time
from collections.abc import Iterator, Sequence

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.postgres.check.findings import Finding, error, ok, warning
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.names import quoted, split_name
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.state.status import PostgresStatusReader

_NAME = "status"


def status_findings(connector: Connector, function: str, views: Sequence[str]) -> Iterator[Finding]:
    """Call the status function as the daemon does, and read our records beside it."""
    session = Session(connector, label="check")
    called = quoted(*split_name(function, connector.settings.app_schema))
    began = time.monotonic()
    try:
        status = PostgresStatusReader(session, function, views).read()
    except DatabaseFault as fault:
        yield error(_NAME, f"the views' status cannot be read: {fault.message}")
        return
    finally:
        session.close()
    seconds = time.monotonic() - began
    if status.blocked is not None:
        yield warning(
            _NAME, status.blocked, "wait for that session's end, or end it: SELECT pg_terminate_backend(PID);"
        )
    elif status.problem is not None:
        yield error(_NAME, status.problem, f"call {called}() in psql, and see what fails")
    elif missing := [view.view for view in status.views if view.rows is None and view.size_bytes is None]:
        yield error(
            _NAME,
            f"{function}() returns nothing of {', '.join(missing)}",
            f"call {called}() in psql, and see what fails",
        )
    else:
        yield ok(_NAME, f"{function}() answers for {len(status.views)} views, in {seconds * 1000:.0f} ms")
    if status.unread is not None:
        yield warning(
            _NAME,
            f"our records cannot be read: {status.unread}",
            "look in pg_locks for who holds a lock on them",
        )
