"""Create and drop the index on failures.

With it, recent_failures reads a day of failures instead of a day of actions.
"""

from collections.abc import Callable

from psycopg import sql

from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.commands import block
from analytics_refreshd.postgres.incremental.preflight import SourceTable


def _failure_index(connection: Connection, table: SourceTable) -> tuple[str, bool | None]:
    values = {"table": table.identifier.as_string()}
    name = connection.execute(block("install", "failure_index_name"), values).fetchone()
    valid = connection.execute(block("install", "has_failure_index"), values).fetchone()
    return str(name[0]) if name else "", valid[0] if valid else None


def index_failures(connection: Connection, table: SourceTable, tell: Callable[[str], None]) -> bool:
    """Create the index on failures unless it exists.

    Without it, recent_failures reads all rows of a day.
    """
    name, valid = _failure_index(connection, table)
    if valid:
        return False
    tell(f"index the failures of {table.schema}.{table.name}")
    if valid is not None:
        drop_failure_index(connection, table)
    connection.execute(block("install", "create_failure_index", index=sql.Identifier(name), table=table.identifier))
    return True


def drop_failure_index(connection: Connection, table: SourceTable) -> None:
    """Drop the index of failures of one table, valid or not."""
    name, valid = _failure_index(connection, table)
    if valid is not None:
        connection.execute(block("install", "drop_failure_index", index=sql.Identifier(table.schema, name)))
