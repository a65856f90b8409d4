"""Turns the outbox on and off: the batches that a warehouse is fed from."""

from psycopg import sql

from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.blocks import block
from analytics_refreshd.postgres.incremental.settings import Outbox


def is_installed(connection: Connection) -> bool:
    """Whether what is folded is kept for a warehouse."""
    row = connection.execute(block("outbox", "installed")).fetchone()
    return bool(row and row[0])


def apply(connection: Connection, had: bool, outbox: Outbox | None) -> list[str]:
    """Set the limit, or drop the outbox; return what was done.

    The functions that fold are replaced by then; `had` tells whether there was an outbox before.
    """
    if outbox is None:
        return []
    if outbox.wanted:
        connection.execute(block("outbox", "set_limit", rows=sql.Literal(outbox.rows_limit)))
        return [] if had else ["create the outbox"]
    if not had:
        return []
    connection.execute(block("outbox", "drop"))
    return ["drop the outbox"]
