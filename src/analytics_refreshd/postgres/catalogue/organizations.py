"""Finds which organizations that a user names do not exist."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.sqlfiles import blocks


def unknown_organizations(connection: Connection, app_schema: str, named: Sequence[str]) -> list[str]:
    """Return those of `named` that neither the organizations nor any trigger know.

    Empty where this role may read neither table: the query itself then says what is missing.
    """
    wanted, readable = list(dict.fromkeys(named)), False
    for text in blocks("catalogue/relations/organizations.sql").values():
        if not wanted:
            return []
        statement = sql.SQL(text).format(app=sql.Identifier(app_schema))
        try:
            with connection.transaction():
                rows = connection.execute(statement, {"named": wanted}, prepare=False).fetchall()
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            continue
        readable = True
        found = {row[0] for row in rows}
        wanted = [name for name in wanted if name not in found]
    return wanted if readable else []
