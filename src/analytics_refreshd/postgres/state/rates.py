"""Reads success rate and p95 of the last 24 hours: exact, in bounded time, or not at all."""

import time
from collections.abc import Set
from dataclasses import replace

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.model import Rates
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import milliseconds
from analytics_refreshd.postgres.connection.errors import primary_text
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks

LONGEST_SECONDS = 2.0
_ROLLUPS = frozenset({"hour_cells", "duration_counts"})
_NOTHING = Rates(0, None, None)


def read_rates(connection: BoundedConnection, app_schema: str, present: Set[str]) -> Rates:
    """Read the figures from rollups and rows.

    `present` are the tables of our schema that this role may read. Where the rows cannot be read, the p95 is None and
    `latency_problem` says why; the success rate is then that of the whole hours. Raises psycopg.Error where that cannot
    be read either.
    """
    if connection.execute(blocks("state/rates.sql")["view_refused"], {"app_schema": app_schema}).fetchone():
        return _fetch(connection, app_schema, "of_hours") or _NOTHING
    until = time.monotonic() + LONGEST_SECONDS
    names = ["of_rollups", "of_rows"] if present >= _ROLLUPS else ["of_rows"]
    problem = ""
    for name in names:
        try:
            found = _ask(connection, app_schema, name, until - time.monotonic())
        except psycopg.errors.QueryCanceled:
            problem = (
                f"the rows of the last 24 h were not read within {LONGEST_SECONDS:g} s: "
                f"check that {app_schema}.action_results has an index on executed_at"
            )
            break
        except psycopg.errors.InsufficientPrivilege as error:
            problem = _refused(connection, app_schema, error)
        except psycopg.Error as error:
            if connection.closed:
                raise
            problem = f"the rows of the last 24 h cannot be read: {primary_text(error)}"
        else:
            if found is not None:
                return found
    try:
        with connection.transaction():
            hours = _fetch(connection, app_schema, "of_hours")
    except psycopg.errors.ObjectNotInPrerequisiteState:
        hours = None
    return replace(hours or _NOTHING, latency_problem=printable(problem))


def _ask(connection: BoundedConnection, app_schema: str, name: str, seconds: float) -> Rates | None:
    with connection.transaction():
        timeout = milliseconds(max(0.001, seconds))
        connection.execute(blocks("state/rates.sql")["limit"], {"timeout": timeout})
        return _fetch(connection, app_schema, name)


def _fetch(connection: BoundedConnection, app_schema: str, name: str) -> Rates | None:
    query = sql.SQL(blocks("state/rates.sql")[name]).format(app=sql.Identifier(app_schema))
    return connection.cursor(row_factory=class_row(Rates)).execute(query).fetchone()


def missing_grant(connection: BoundedConnection, app_schema: str) -> str | None:
    """Return the GRANT without which this role cannot read the rows.

    None where it has it, or there is no table.
    """
    row = connection.execute(blocks("state/rates.sql")["may_read_rows"], {"app_schema": app_schema}).fetchone()
    if row is None or row[0] is not False:
        return None
    table, role = quoted(app_schema, "action_results"), quoted(connection.info.user)
    return f"GRANT SELECT (executed_at, duration_ms, status) ON {table} TO {role};"


def _refused(connection: BoundedConnection, app_schema: str, error: psycopg.Error) -> str:
    """Say what refuses the rows: a missing grant, or else what the server says, as of row security."""
    grant = missing_grant(connection, app_schema)
    if grant is None:
        return f"the rows of the last 24 h cannot be read: {primary_text(error)}"
    return f"this role may not read the rows of {app_schema}.action_results: {grant}"
