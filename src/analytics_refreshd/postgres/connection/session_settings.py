"""A session's settings, whatever the server, the database or the role set."""

from collections.abc import Mapping
from contextlib import suppress

import psycopg
from psycopg.rows import dict_row

from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.errors import contract_fault
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.text import adapt_text

# default_transaction_read_only is not here: hosted services set it where the disk is full, and it must hold for us too
_REQUIRED = {
    # how values look: psycopg reads dates, intervals, arrays and floats by these, and migrations compare definitions
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    # what a statement means, and which rows it reads
    "array_nulls": "on",
    "gin_fuzzy_search_limit": "0",
    "restrict_nonsystem_relation_kind": "",
    "row_security": "on",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    # what ends a statement, a transaction or the session, besides the limits of the profile
    "exit_on_error": "off",
    "plpgsql.extra_errors": "none",
    "transaction_timeout": "0",
    # how a transaction begins, and which notices arrive
    "client_min_messages": "notice",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
}
# these belong to the server's side; a platform or a Unix socket may not have all of them
_OPTIONAL = {
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
}


def apply_settings(connection: BoundedConnection, limits: Mapping[str, str]) -> None:
    """Set and read back what every session needs, and its own `limits`.

    Raises DatabaseFault of class contract where the settings do not last. A setting that this server's version does not
    know is left out.
    """
    statements = blocks("connection/connection.sql")
    # search_path first: every later statement finds names by it
    wanted = {**limits, "client_encoding": adapt_text(connection), **_REQUIRED}
    values = {"names": list(wanted), "values": list(wanted.values())}
    cursor = connection.cursor(row_factory=dict_row)
    applied = {row["name"]: row["value"] for row in cursor.execute(statements["set_required"], values).fetchall()}
    for name, value in _OPTIONAL.items():
        with suppress(psycopg.DatabaseError):
            connection.execute(statements["set_optional"], {"name": name, "value": value})
    names = {"names": list(applied)}
    cursor = connection.cursor(row_factory=dict_row)
    found = {row["name"]: row["value"] for row in cursor.execute(statements["read_back"], names).fetchall()}
    differing = [name for name, value in applied.items() if found.get(name) != value]
    if differing:
        raise contract_fault(
            f"session settings do not last ({', '.join(differing)}): a pooler in transaction mode stands between; "
            "give the daemon a direct connection to PostgreSQL"
        )
