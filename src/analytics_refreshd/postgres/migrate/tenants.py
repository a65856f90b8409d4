"""What the API needs in the database: created when asked, renewed wherever it is."""

from dataclasses import dataclass, field

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.migrate.steps import Draft
from analytics_refreshd.postgres.schema.acting import Step
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, TENANT_SCHEMA, TENANT_TABLES
from analytics_refreshd.postgres.tenants.install import TenantCommands, dependents, tenants


@dataclass(slots=True)
class TenantSteps:
    """`tables` come with the tables of our schema; `rest` at the end, when the views are as they will be."""

    tables: list[Step] = field(default_factory=list)
    rest: list[Step] = field(default_factory=list)


def tenant_steps(draft: Draft, *, wanted: bool) -> TenantSteps:
    """Return the steps for the API's schema: none where it is as it should be, or neither wanted nor there."""
    steps = TenantSteps()
    found = tenants(draft.catalog.connection, draft.app, draft.home)
    if not wanted and not found.ours:
        return steps
    if found.foreign_objects or (found.present and not found.ours):
        made = "; ".join(found.foreign_objects) or f"schema {TENANT_SCHEMA} without our comment"
        draft.obstacles.append(
            f"schema {TENANT_SCHEMA} is to hold what the API may use, and others made what is there ({made}): drop or "
            "rename it, then run migrate --tenants again"
        )
        return steps
    commands = TenantCommands(draft.home, draft.app, found.members)
    whole = commands.names() <= set(found.names) and not commands.names() & set(found.misled)
    if whole and found.comment == commands.comment():
        return steps
    if not found.present:
        steps.tables.append(_schema_step(draft, commands))
    steps.tables.append(Step(f"create the tables {', '.join(TENANT_TABLES)} in {OUR_SCHEMA}", commands.tables()))
    title = f"create what the API uses in schema {TENANT_SCHEMA}"
    steps.rest.append(Step(title, (*commands.objects(), commands.note())))
    return steps


def _schema_step(draft: Draft, commands: TenantCommands) -> Step:
    has = draft.installed.privileges
    if not has.creates_schemas and not draft.installed.actors[draft.home].creates_schemas:
        draft.obstacles.append(
            f"role {has.role} may not create schemas here: run migrate as the database's owner or a superuser"
        )
    creator = draft.role if has.creates_schemas else draft.home
    return Step(f"create schema {TENANT_SCHEMA}", (commands.schema(),), role=creator)


def drop_tenants_steps(draft: Draft) -> list[Step]:
    """Return the steps that drop what the API's role may use: none where it is not there, or others'.

    Raises MigrationError where others depend on it.
    """
    connection = draft.catalog.connection
    found = tenants(connection, draft.app, draft.home)
    if found.foreign_objects or not found.ours:
        return []
    hanging = dependents(connection)
    if hanging:
        raise MigrationError(
            f"on schema {TENANT_SCHEMA} depends what is not ours ({', '.join(hanging)}): drop it, then uninstall again"
        )
    return [Step(f"drop schema {TENANT_SCHEMA}", (TenantCommands.drop(),))]
