"""Replaces the four views, and keeps everything attached to them."""

from collections.abc import Callable, Mapping

from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.commands import Commands, block
from analytics_refreshd.postgres.incremental.preflight import Found, view_obstacles
from analytics_refreshd.postgres.schema.acting import Acting, Step
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import FUNCTIONS, OUR_SCHEMA, TENANT_SCHEMA, Definitions, set_role
from analytics_refreshd.postgres.schema.dependents import dependents, in_words, obstacles
from analytics_refreshd.postgres.schema.differences import query_difference
from analytics_refreshd.postgres.schema.replacing import Replacement, build, put_in_place


def replace_views(
    connection: Connection,
    app_schema: str,
    definition: Callable[[str], sql.Composed],
    *,
    reads_rollups: bool,
    progress: Callable[[str], None],
) -> None:
    """Build new views in our schema, then swap them in.

    `definition(name)` creates each, and all of it is one transaction. Owner, grants, comments, storage, every index and
    what depends on the views stay. Readers wait only for the swap, at most 5 s each. Raises MigrationError where
    something that depends on a view could not be created again, and psycopg.errors.LockNotAvailable where readers hold
    one for longer.
    """
    catalog = Catalog(connection, app_schema)
    acting = Acting(catalog, catalog.read(compare=False))
    problems = [*view_obstacles(connection, app_schema), *obstacles(acting, dependents(connection, app_schema, VIEWS))]
    if problems:
        raise MigrationError("; ".join(problems))
    connection.execute(command("hold_refreshes"))
    steps = [
        build(connection, acting, _replacement(acting, name, definition(name), reads_rollups=reads_rollups))
        for name in VIEWS
    ]
    swaps = put_in_place(connection, acting, VIEWS)
    for step in acting.carried_out([*acting.lend_ours("lend_create"), *steps, *swaps]):
        if step.populates is not None:
            progress(step.populates)
        for each in step.commands:
            connection.execute(each)
    connection.execute(set_role(acting.role))


def _replacement(acting: Acting, name: str, definition: sql.Composed, *, reads_rollups: bool) -> Replacement:
    view = acting.installed.found.views[name]
    role = sql.Identifier(acting.actor(acting.owner_of(view)))
    grants = (block("install", "grant_owner", owner=role),) if reads_rollups else ()
    columns = tuple(column.split(" ", 1)[0] for column in view.columns)
    return Replacement(name, columns, (definition,), grants=grants)


def refuse_replacing(connection: Connection, definitions: Definitions, found: Found) -> None:
    """Refuse to replace views that differ or that others depend on.

    Raises MigrationError, which shows what is different and what depends.
    """
    connection.execute(block("install", "brief_lock"))
    catalog = Catalog(connection, definitions.app_schema)
    rollups = Commands(definitions).view
    create = definitions.create if found.mode == "plain" else rollups
    expected = catalog.expected([create(name, OUR_SCHEMA) for name in VIEWS], found.home)
    installed = catalog.objects(definitions.app_schema).views
    problems = []
    for name, ours in (expected.views if expected is not None else {}).items():
        if name in installed and installed[name].definition != ours.definition:
            difference = query_difference(installed[name].definition, ours.definition)
            problems.append(f"{definitions.app_schema}.{name} is not ours: {difference}")
    # what the API reads is ours, and is created again anyway
    hanging = [one for one in dependents(connection, definitions.app_schema, VIEWS) if one.schema != TENANT_SCHEMA]
    if hanging:
        problems.append(f"on the views depend {in_words(hanging)}")
    if problems:
        raise MigrationError(
            f"{'; '.join(problems)}: the same command with --replace puts our views in place, and creates what depends "
            "on them again as it is"
        )


def replace_functions(connection: Connection, app_schema: str, definitions: Mapping[str, sql.Composed]) -> None:
    """Replace or create functions of the application's schema.

    Existing ones are replaced as their owner, missing ones created as our schema's owner.
    """
    catalog = Catalog(connection, app_schema)
    acting = Acting(catalog, catalog.read(compare=False))
    steps = []
    for name, definition in definitions.items():
        existing = acting.installed.found.functions.get((name, FUNCTIONS[name]))
        role = acting.actor(existing.owner) if existing else acting.home
        acting.creators.add(role)
        steps.append(Step(f"replace function {app_schema}.{name}", (definition,), role=role))
    for step in acting.carried_out(steps):
        for each in step.commands:
            connection.execute(each)
    connection.execute(set_role(acting.role))
