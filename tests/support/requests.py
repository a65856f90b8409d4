"""Requests of operators, as the API makes them, and what became of them."""

from typing import Any

from psycopg.rows import dict_row

from tests.support.faults import Connection, value


def ask(
    connection: Connection, kind: str, *, actor: str = "key_1", reason: str | None = None, length: Any = None
) -> Any:
    """Ask for something; return the request's id."""
    return value(connection, "select analytics_refresh.request(%s, %s, %s, %s)", kind, actor, reason, length)


def state_of(connection: Connection, request_id: object) -> dict[str, Any]:
    """Return what became of a request."""
    cursor = connection.cursor(row_factory=dict_row)
    found = cursor.execute("select * from analytics_refresh.request_state(%s)", [request_id]).fetchone()
    assert found is not None
    return found


def ended(connection: Connection, request_id: object) -> dict[str, Any] | None:
    """Return what became of a request, once it is over."""
    found = state_of(connection, request_id)
    return found if found["state"] in ("ended", "expired") else None


def expire(connection: Connection, request_id: object) -> None:
    """Let the time of a request be over, which no right of the product's allows."""
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(
            "update analytics_refresh.operator_requests set requested_at = requested_at - interval '6 minutes',"
            " expires_at = expires_at - interval '6 minutes' where request_id = %s",
            [request_id],
        )
