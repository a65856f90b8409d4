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

_NEW_OWNER = "analytics_owner"
_MIGRATE = "run `analytics-refreshd migrate` as a superuser"


def owner_findings(connection: BoundedConnection, app_schema: str) -> tuple[list[Finding], bool]:
    """Findings on owners, kinds and PUBLIC, and whether our schema may be read: nobody else's code runs by that."""
    owners = _rows(connection, "owners", {"schema": app_schema, "views": list(VIEWS)})[0]
    foreign = _foreign(connection, app_schema, owners)
    accepted = {owners["tables"], *([] if foreign else [owners["ours"]]), *owners["views"]}
    superusers = _rows(connection, "superusers", {"schema": app_schema, "views": list(VIEWS), "new_owner": _NEW_OWNER})
    superusers_table = any(not each["is_view"] for each in superusers)
    findings = [
        error(
            "schema",
            f"{printable(item)}: its code would run with the rights of whoever refreshes",
            f"find out who made it, drop it or give it to {owners['tables']}, then run `analytics-refreshd migrate`",
        )
        for item in foreign
    ]
    if owners["ours"] is not None:
        findings += _superusers(superusers, app_schema)
    for function in _rows(connection, "our_functions", {"schema": app_schema}):
        if function["schema"] == OUR_SCHEMA and foreign:
            continue
        findings += _function(function, owners, accepted, superuser_is_usual=superusers_table)
    return findings, owners["ours"] is not None and not foreign


def _superusers(found: list[dict[str, Any]], app_schema: str) -> Iterator[Finding]:
    """Yield a finding where functions of ours and refreshes act as a superuser, since the relations belong to one."""
    if not found:
        return
    names = ", ".join(each["relation"] for each in found)
    owners = printable(", ".join(sorted({each["owner"] for each in found})))
    remedy = f"{_MIGRATE}, and after that `migrate --incremental`" if found[0]["incremental"] else _MIGRATE
    if not found[0]["is_view"]:
        creates = "" if found[0]["new_owner_exists"] else f"CREATE ROLE {_NEW_OWNER}; "
        table = quoted(app_schema, "action_results")
        remedy = f"{creates}ALTER TABLE {table} OWNER TO {_NEW_OWNER}; then {remedy}"
    yield warning(
        "owners",
        f"{names} belong{'s' if len(found) == 1 else ''} to the superuser {owners}: our functions that act as their"
        " owner, and every refresh, act as a superuser",
        remedy,
    )


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


def _rows(connection: BoundedConnection, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(blocks("check/check.sql")[name], parameters).fetchall()
