"""Whether the schema that bears our name is ours: the statements of the program itself would run another's code."""

from functools import cache
from typing import LiteralString

from analytics_refreshd.core.errors import WrongSchemaFault
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.errors import contract_fault
from analytics_refreshd.postgres.connection.sqlfiles import blocks


@cache
def trusting(file: str, name: str = "present") -> LiteralString:
    """Return a named block with the condition on a schema's owner.

    In the block, `n` is the schema; the statement takes `app_schema`.
    """
    return blocks(file)[name].format(trusted=blocks("connection/trust.sql")["trusted"])


def refuse_untrusted(connection: BoundedConnection, app_schema: str) -> None:
    """Raise DatabaseFault of class contract if another role's schema bears our name."""
    row = connection.execute(trusting("connection/trust.sql", "untrusted"), {"app_schema": app_schema}).fetchone()
    if row and row[0]:
        raise contract_fault(
            "schema analytics_refresh belongs to a role that is not trusted: run `analytics-refreshd check`"
        )


def refuse_other_schema(connection: BoundedConnection, app_schema: str) -> None:
    """Raise WrongSchemaFault if the database is installed for another application schema.

    Where this role may not read what is installed, the functions that write into our schema tell.
    """
    found = connection.execute(trusting("connection/trust.sql", "served"), {"app_schema": app_schema}).fetchone()
    if found is None:
        return
    recorded, recording = found
    row = connection.execute(blocks("connection/trust.sql")["recorded_schema"]).fetchone() if recorded else None
    served = [str(row[0])] if row else [str(schema) for schema in recording]
    if served and app_schema not in served:
        raise WrongSchemaFault(printable(", ".join(served)), app_schema)
