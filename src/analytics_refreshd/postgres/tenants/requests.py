"""Writes what operators ask for, as the role of the API."""

from datetime import timedelta
from uuid import UUID

from psycopg.rows import class_row, scalar_row

from analytics_refreshd.core.requests import RequestKind, RequestState
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.tenants.primary import Primary

_LABEL = "actions"


class PostgresRequestBook:
    """Requests on the primary."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary

    def ask(self, kind: RequestKind, actor: str, reason: str | None, length: timedelta | None) -> RequestState:
        """Write a request for the leader; return it as it is then. Raises DatabaseFault."""
        values = {"kind": kind, "actor": actor, "reason": reason, "length": length}

        def work(connection: BoundedConnection) -> RequestState:
            cursor = connection.cursor(row_factory=scalar_row)
            request_id = cursor.execute(blocks("tenants/requests.sql")["ask"], values).fetchone()
            found = _state(connection, request_id)
            assert found is not None  # noqa: S101 - it was written in this transaction
            return found

        return self._primary.run(_LABEL, work)

    def state(self, request_id: UUID) -> RequestState | None:
        """Return what became of a request.

        None: there is none of this id. Raises DatabaseFault.
        """
        return self._primary.run(_LABEL, lambda connection: _state(connection, request_id))


def _state(connection: BoundedConnection, request_id: UUID | None) -> RequestState | None:
    cursor = connection.cursor(row_factory=class_row(RequestState))
    return cursor.execute(blocks("tenants/requests.sql")["state"], {"request_id": request_id}).fetchone()
