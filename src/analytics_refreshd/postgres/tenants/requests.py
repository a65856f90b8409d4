"""Writes what operators ask for, as the role of the API."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from psycopg.rows import class_row, scalar_row

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.requests import RequestKind, RequestState
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.errors import translating
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.tenants.keys import refuse_untrusted_tenants

_Value = TypeVar("_Value")
_MOST = 2
_SECONDS = 5.0
_PROFILE = Profile(statement_timeout_seconds=2.0, lock_timeout_seconds=2.0, idle_in_transaction_seconds=_SECONDS)


class PostgresRequestBook:
    """Requests on the primary, each over a connection of its own: nothing is sent twice, and none stays open."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._free = threading.BoundedSemaphore(_MOST)

    def ask(self, kind: RequestKind, actor: str, reason: str | None, length: timedelta | None) -> RequestState:
        """Write a request for the leader; return it as it is then. Raises DatabaseFault."""
        values = {"kind": kind, "actor": actor, "reason": reason, "length": length}

        def work(connection: BoundedConnection) -> RequestState:
            cursor = connection.cursor(row_factory=scalar_row)
            request_id = cursor.execute(blocks("tenants/requests.sql")["ask"], values).fetchone()
            found = _state(connection, request_id)
            assert found is not None  # noqa: S101 - it was written in this transaction
            return found

        return self._run(work)

    def state(self, request_id: UUID) -> RequestState | None:
        """Return what became of a request.

        None: there is none of this id. Raises DatabaseFault.
        """
        return self._run(lambda connection: _state(connection, request_id))

    def _run(self, work: Callable[[BoundedConnection], _Value]) -> _Value:
        if not self._free.acquire(timeout=_SECONDS):
            raise DatabaseFault(
                "others ask for something, too", error_class=ErrorClass.CONTENTION, reason=Reason.LOCK_TIMEOUT
            )
        try:
            connection = self._connector.connect("actions", _PROFILE)
            try:
                with translating(connection), connection.within(_SECONDS), connection.transaction():
                    refuse_untrusted_tenants(connection, self._connector.settings.app_schema)
                    return work(connection)
            finally:
                connection.close()
        finally:
            self._free.release()


def _state(connection: BoundedConnection, request_id: UUID | None) -> RequestState | None:
    cursor = connection.cursor(row_factory=class_row(RequestState))
    return cursor.execute(blocks("tenants/requests.sql")["state"], {"request_id": request_id}).fetchone()
