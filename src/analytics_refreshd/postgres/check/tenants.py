"""Whether what the API uses in the database is whole, and closed to the daemon."""

from collections.abc import Iterator

from analytics_refreshd.postgres.check.findings import Finding, error, ok, warning
from analytics_refreshd.postgres.check.rights import grant, missing_rights
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, TENANT_SCHEMA, TENANT_TABLES
from analytics_refreshd.postgres.tenants.install import TenantCommands, tenants

_RIGHTS = {"operator_requests": ("SELECT", "DELETE"), "operator_request_steps": ("SELECT", "INSERT")}
_MIGRATE = "run `analytics-refreshd migrate --tenants`"


def tenant_findings(connection: BoundedConnection, app_schema: str) -> Iterator[Finding]:
    """Findings on the schema analytics_api; none where there is none."""
    role = connection.info.user
    found = tenants(connection, app_schema, role)
    if not found.present:
        return
    row = connection.execute(trusting("tenants/keys.sql", "untrusted"), {"app_schema": app_schema}).fetchone()
    if not found.ours or (row and row[0]):
        yield error("api", f"schema {TENANT_SCHEMA} is not ours: the API admits nobody", f"drop it, then {_MIGRATE}")
        return
    commands = TenantCommands(role, app_schema, found.members)
    missing = sorted(commands.names() - set(found.names))
    misled = sorted(commands.names() & set(found.misled))
    if misled:
        text = f"{', '.join(misled)} of schema {TENANT_SCHEMA} read what was renamed: figures of the API are old"
        yield error("api", text, _MIGRATE)
    elif missing:
        yield error("api", f"schema {TENANT_SCHEMA} lacks {', '.join(missing)}", _MIGRATE)
    elif found.comment != commands.comment():
        yield warning("api", f"schema {TENANT_SCHEMA} is not as this program makes it", _MIGRATE)
    else:
        yield ok("api", f"schema {TENANT_SCHEMA} is as this program makes it")
    lacking, _ = missing_rights(connection, _RIGHTS)
    for table, privileges in lacking.items():
        text, advice = grant(table, privileges, quoted(role))
        yield warning("api", f"{text}: what operators ask for over the API expires", advice)
    values = {"tables": list(TENANT_TABLES)}
    readable = [str(name) for (name,) in connection.execute(blocks("check/check.sql")["read_by_role"], values)]
    if readable:
        names = ", ".join(f"{OUR_SCHEMA}.{name}" for name in readable)
        yield warning(
            "api",
            f"this role may read {names}, which only the API's functions should",
            # printed for a person
            f"REVOKE SELECT ON {names} FROM {quoted(role)};",  # noqa: S608
        )
