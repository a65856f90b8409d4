"""Whether the schema that bears our name is ours: the statements of the program itself would run another's code."""

from functools import cache
from typing import LiteralString

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
