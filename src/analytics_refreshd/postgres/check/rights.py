"""Which rights on our own schema a role lacks."""

from collections.abc import Iterator, Mapping, Sequence

from analytics_refreshd.postgres.check.findings import Finding, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA


def missing_rights(
    connection: BoundedConnection, rights: Mapping[str, Sequence[str]]
) -> tuple[dict[str, list[str]], set[str]]:
    """The privileges that this role lacks, by table, and the tables that are not there."""
    pairs = [(table, privilege) for table, privileges in rights.items() for privilege in privileges]
    parameters = {"relations": [pair[0] for pair in pairs], "privileges": [pair[1] for pair in pairs]}
    lacking: dict[str, list[str]] = {}
    absent: set[str] = set()
    for table, privilege, exists in connection.execute(blocks("check/check.sql")["missing_rights"], parameters):
        if exists:
            lacking.setdefault(table, []).append(privilege)
        else:
            absent.add(table)
    return lacking, absent


def uncallable(connection: BoundedConnection, name: str, calls: str, consequence: str, role: str) -> Iterator[Finding]:
    """A warning for each function named in `calls` that this role may not execute."""
    for (signature,) in connection.execute(blocks("check/check.sql")["uncallable"], {"sources": [calls]}).fetchall():
        grant = f"GRANT EXECUTE ON FUNCTION {signature} TO {role};"
        yield warning(name, f"no EXECUTE on {signature}: {consequence}", grant)


def grant(table: str, privileges: Sequence[str], role: str) -> tuple[str, str]:
    rights = ", ".join(privileges)
    return f"no {rights} on {OUR_SCHEMA}.{table}", f"GRANT {rights} ON {OUR_SCHEMA}.{table} TO {role};"
