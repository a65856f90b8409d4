"""Drops our schema, but for receipts of erasures."""

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.state import is_installed
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, OUR_TABLES, TENANT_SCHEMA, TENANT_TABLES
from analytics_refreshd.postgres.schema.installed import Installed


def refuse_uninstall(connection: Connection, catalog: Catalog, installed: Installed) -> None:
    """Raise MigrationError where our schema cannot be dropped as it is."""
    has = installed.privileges
    if not has.owns_ours:
        raise MigrationError(
            f"role {has.role} does not own schema {OUR_SCHEMA}: uninstall as {has.ours_owner} or a superuser"
        )
    if installed.installation is not None and installed.installation.mode != "plain":
        raise MigrationError("the views read our rollups: run migrate --plain first, then uninstall")
    if is_installed(connection):
        raise MigrationError(
            "a switch to the incremental mode was begun and not finished: run migrate --plain first, then uninstall"
        )
    foreign = catalog.outside_dependents((*OUR_TABLES, *TENANT_TABLES))
    if foreign:
        raise MigrationError(
            f"schema {OUR_SCHEMA} holds or carries what is not ours ({', '.join(foreign)}): "
            "drop or move these, then uninstall again"
        )


def drop_ours(connection: Connection, *, tenants: bool) -> list[str]:
    """Drop our schema, and say in words what went. `tenants` is whether that of the API went before.

    Receipts of erasures stay: they are needed after a restore, whoever keeps the views fresh then.
    """
    ((table,),) = connection.execute(command("has_receipts")).fetchall()
    if table and connection.execute(command("receipts")).fetchall()[0][0]:
        connection.execute(command("uninstall_but_receipts"))
        dropped = [f"history, alerts and pauses of schema {OUR_SCHEMA}; its table erasures stays"]
    else:
        connection.execute(command("uninstall"))
        dropped = [f"schema {OUR_SCHEMA} with its history, alerts and pauses"]
    return [
        *dropped,
        *([f"schema {TENANT_SCHEMA}, with the keys of the API and the questions that people kept"] if tenants else []),
    ]
