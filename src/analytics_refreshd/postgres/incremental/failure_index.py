"""Create and drop the index on failures.

With it, recent_failures reads a day of failures instead of a day of actions.
"""

from collections.abc import Callable

from psycopg import sql

from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.commands import block
from analytics_refreshd.postgres.incremental.preflight import SourceTable


def _failure_indexes(connection: Connection, table: SourceTable) -> list[tuple[str, bool]]:
    """Name the table's indexes of failures, valid ones first; a restored one bears another number than a new one."""
    values = {"table": table.identifier.as_string()}
    return [(str(name), bool(valid)) for name, valid in connection.execute(block("install", "failure_indexes"), values)]


def index_failures(connection: Connection, table: SourceTable, tell: Callable[[str], None]) -> bool:
    """Create the index on failures unless it exists; drop any other.

    Without it, recent_failures reads all rows of a day.
    """
    found = _failure_indexes(connection, table)
    kept = found[:1] if found and found[0][1] else []
    for name, _ in found[len(kept) :]:
        _drop(connection, table, name)
    if kept:
        return False
    tell(f"index the failures of {table.schema}.{table.name}")
    values = {"table": table.identifier.as_string()}
    row = connection.execute(block("install", "failure_index_name"), values).fetchone()
    index = sql.Identifier(str(row[0]) if row else "")
    connection.execute(block("install", "create_failure_index", index=index, table=table.identifier))
    return True


def drop_failure_index(connection: Connection, table: SourceTable) -> None:
    """Drop the indexes of failures of one table, valid or not."""
    for name, _ in _failure_indexes(connection, table):
        _drop(connection, table, name)


def _drop(connection: Connection, table: SourceTable, name: str) -> None:
    connection.execute(block("install", "drop_failure_index", index=sql.Identifier(table.schema, name)))
