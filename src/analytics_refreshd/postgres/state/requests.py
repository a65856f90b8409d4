"""Reads what operators ask for, and records what the leader did."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from psycopg.rows import class_row, scalar_row

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.requests import OperatorRequest, RequestEnd, RequestKind, RequestOutcome
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting
from analytics_refreshd.postgres.state import pauses


class PostgresRequests:
    """`core.requests.RequestStore` on the status connection."""

    def __init__(self, session: Session, replica: str) -> None:
        self._session = session
        self._replica = replica
        self._statements = blocks("state/requests.sql")

    def open(self) -> list[OperatorRequest]:
        """As `core.requests.RequestStore.open`."""

        def work(connection: BoundedConnection) -> list[OperatorRequest]:
            parameters = {"app_schema": self._session.app_schema}
            if connection.execute(trusting("state/requests.sql", "usable"), parameters).fetchone() is None:
                return []
            cursor = connection.cursor(row_factory=class_row(OperatorRequest))
            return [_read(found) for found in cursor.execute(self._statements["open"]).fetchall()]

        return self._session.run(work)

    def take(self, request_ids: Sequence[UUID], run_id: UUID, *, joined: bool) -> list[UUID]:
        """As `core.requests.RequestStore.take`."""
        return self._session.run(lambda connection: self._take(connection, request_ids, run_id, joined))

    def end(self, request_id: UUID, end: RequestEnd) -> bool:
        """As `core.requests.RequestStore.end`."""
        return self._session.run(lambda connection: self._end(connection, request_id, end))

    def pause(self, request: OperatorRequest) -> RequestEnd | None:
        """As `core.requests.RequestStore.pause`."""

        def work(connection: BoundedConnection) -> RequestEnd | None:
            if request.length is None or not self._take(connection, [request.request_id], None, None):
                return None
            until = pauses.pause_on(connection, request.length, request.reason or "")
            connection.execute(self._statements["name_actor"], {"actor": request.actor})
            end = RequestEnd(RequestOutcome.OK, paused_until=until)
            return end if self._end(connection, request.request_id, end) else None

        return self._session.run(work)

    def resume(self, request: OperatorRequest) -> RequestEnd | None:
        """As `core.requests.RequestStore.resume`."""

        def work(connection: BoundedConnection) -> RequestEnd | None:
            if not self._take(connection, [request.request_id], None, None):
                return None
            end = RequestEnd(RequestOutcome.OK, pauses_ended=pauses.resume_on(connection))
            return end if self._end(connection, request.request_id, end) else None

        return self._session.run(work)

    def prune(self) -> None:
        """As `core.requests.RequestStore.prune`."""

        def work(connection: BoundedConnection) -> None:
            parameters = {"app_schema": self._session.app_schema}
            if connection.execute(trusting("state/requests.sql", "usable"), parameters).fetchone():
                connection.execute(self._statements["prune"])

        self._session.run(work)

    def _take(
        self, connection: BoundedConnection, request_ids: Sequence[UUID], run_id: UUID | None, joined: bool | None
    ) -> list[UUID]:
        values = {"replica": self._replica, "run_id": run_id, "joined": joined, "request_ids": list(request_ids)}
        return connection.cursor(row_factory=scalar_row).execute(self._statements["take"], values).fetchall()

    def _end(self, connection: BoundedConnection, request_id: UUID, end: RequestEnd) -> bool:
        values = {
            "request_id": request_id,
            "replica": self._replica,
            "outcome": end.outcome,
            "detail": end.detail,
            "paused_until": end.paused_until,
            "pauses_ended": end.pauses_ended,
        }
        return connection.execute(self._statements["end"], values).fetchone() is not None


def _read(found: OperatorRequest) -> OperatorRequest:
    reason = printable(found.reason) if found.reason else None
    return replace(found, kind=RequestKind(found.kind), actor=printable(found.actor), reason=reason)
