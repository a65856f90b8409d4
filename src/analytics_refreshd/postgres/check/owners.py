"""Whether what acts with its owner's rights is in the hands that it should be in."""

from collections.abc import Iterator
from typing import Any

from psycopg.rows import dict_row

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.names import STATUS_FUNCTION
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.check.findings import Finding, error, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.definitions import CONTRACT_FUNCTIONS, OUR_SCHEMA

_MIGRATE = "run `analytics-refreshd migrate` as a superuser"


def owner_findings(connection: BoundedConnection, app_schema: str) -> tuple[list[Finding], bool]:
    """Findings on owners, kinds and PUBLIC, and whether our schema may be read: nobody else's code runs by that."""
    owners = _rows(connection, "owners", {"schema": app_schema, "views": list(VIEWS)})[0]
    foreign = _foreign(connection, app_schema, owners)
    accepted = {owners["tables"], *([] if foreign else [owners["ours"]]), *owners["views"]}
    superusers_table = _owned_by_superuser(connection, owners["tables"])
    findings = [
        error(
            "schema",
            f"{printable(item)}: its code would run with the rights of whoever refreshes",
            f"find out who made it, drop it or give it to {owners['tables']}, then run `analytics-refreshd migrate`",
        )
        for item in foreign
    ]
    for function in _rows(connection, "our_functions", {"schema": app_schema}):
        if function["schema"] == OUR_SCHEMA and foreign:
            continue
        findings += _function(function, owners, accepted, superuser_is_usual=superusers_table)
    return findings, owners["ours"] is not None and not foreign


def _foreign(connection: BoundedConnection, app_schema: str, owners: dict[str, Any]) -> tuple[str, ...]:
    if owners["ours"] is None:
        return ()
    # a role that may not act as the tables' owner owns what it migrated: the schema, and the function that trusts it
    migrated = [owners["ours"]] if owners["ours"] in owners["status"] else []
    return Catalog(connection, app_schema).foreign([*([owners["tables"]] if owners["tables"] else []), *migrated])


def _function(
    function: dict[str, Any], owners: dict[str, Any], accepted: set[str], *, superuser_is_usual: bool
) -> Iterator[Finding]:
    called = f"{quoted(function['schema'], function['name'])}({function['arguments']})"
    name, owner = printable(f"{function['schema']}.{function['name']}"), printable(function["owner"])
    if function["definer"] and function["owner_is_superuser"] and not superuser_is_usual:
        yield error("functions", f"{name} acts as the superuser {owner}, whoever calls it", _MIGRATE)
    if owners["ours"] is None:
        if function["definer"] and function["trusts_our_name"]:
            yield error(
                "functions",
                f"{name} acts as {owner} and trusts whoever creates a schema {OUR_SCHEMA}: there is none now",
                "run `analytics-refreshd migrate`, or `analytics-refreshd migrate --uninstall`, which frees it of that",
            )
        return
    if function["owner"] not in accepted:
        yield error("functions", f"{name} belongs to {owner}, who decides what runs when others call it", _MIGRATE)
    is_helper = function["name"] not in CONTRACT_FUNCTIONS or function["schema"] == OUR_SCHEMA
    acts_for_all = function["definer"] and function["name"] != STATUS_FUNCTION
    if function["public_may_call"] and (is_helper or acts_for_all):
        yield warning("functions", f"everyone may call {name}", f"REVOKE EXECUTE ON ROUTINE {called} FROM PUBLIC;")


def _owned_by_superuser(connection: BoundedConnection, role: str | None) -> bool:
    if role is None:
        return False
    row = connection.execute(blocks("check/check.sql")["is_superuser"], {"role": role}).fetchone()
    return bool(row and row[0])


def _rows(connection: BoundedConnection, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(blocks("check/check.sql")[name], parameters).fetchall()
