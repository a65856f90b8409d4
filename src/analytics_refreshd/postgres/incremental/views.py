"""Replaces the four views, and keeps everything attached to them."""

from collections.abc import Callable, Mapping

from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.commands import block
from analytics_refreshd.postgres.incremental.preflight import view_obstacles
from analytics_refreshd.postgres.schema.acting import Acting, Step
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import FUNCTIONS, OUR_SCHEMA, set_role, verbatim


def replace_views(
    connection: Connection,
    app_schema: str,
    definition: Callable[[str], sql.Composed],
    *,
    reads_rollups: bool,
    progress: Callable[[str], None],
) -> None:
    """Build new views in our schema, then swap them in.

    `definition(name)` creates each, and all of it is one transaction. Owner, grants, comments, storage and every index
    stay. Readers wait only for the swap, at most 5 s each. Raises MigrationError where something depends on a view, and
    psycopg.errors.LockNotAvailable where readers hold one for longer.
    """
    obstacles = list(view_obstacles(connection, app_schema))
    if obstacles:
        raise MigrationError("; ".join(obstacles))
    catalog = Catalog(connection, app_schema)
    installed = catalog.read(compare=False)
    acting = Acting(catalog, installed)
    connection.execute(command("hold_refreshes"))
    steps: list[Step] = []
    for name in VIEWS:
        steps.append(_build(connection, acting, name, definition(name), reads_rollups=reads_rollups))
        steps.append(_swap(acting, name))
    steps.sort(key=lambda step: step.populates is None)
    # the readers are kept waiting from the first swap on
    steps.insert(len(VIEWS), Step("wait 5 s at most for readers", (command("bound_waiting"),)))
    for step in acting.carried_out([*acting.lend_ours("lend_create"), *steps]):
        if step.populates is not None:
            progress(step.populates)
        for each in step.commands:
            connection.execute(each)
    connection.execute(set_role(acting.role))


def _build(connection: Connection, acting: Acting, name: str, definition: sql.Composed, *, reads_rollups: bool) -> Step:
    """Build it as its owner from the first command on: its indexes may call functions of its owner's."""
    found = acting.installed.found
    owner = found.views[name].owner
    role = acting.actor(owner)
    acting.builders.add(role)
    acting.creators |= {acting.role, role}
    old = sql.Identifier(acting.app, name).as_string()
    target: dict[str, sql.Composable] = {"target": sql.Identifier(OUR_SCHEMA), "view": sql.Identifier(name)}
    commands: list[sql.Composed] = []
    if role != acting.home:
        grants = [command("allow_recording", role=sql.Identifier(role))]
        if reads_rollups:
            grants.append(block("install", "grant_owner", owner=sql.Identifier(role)))
        commands += [set_role(acting.home), *grants, set_role(role)]
    commands.append(definition)
    storage = [verbatim(text) for text in _texts(connection, "view_storage", old)]
    if storage:
        # the owner need not have the rights on a tablespace that its view was put into
        commands += [set_role(acting.role), *storage, set_role(role)]
    commands.append(command("populate", **target, view_name=sql.Literal(name)))
    commands += [
        verbatim(index.definition) for index in found.indexes.values() if index.view_name == name and index.valid
    ]
    commands += [verbatim(text) for text in _texts(connection, "view_comments", old)]
    commands.append(sql.SQL("analyze {}").format(sql.Identifier(OUR_SCHEMA, name)))
    return Step(f"build view {acting.app}.{name} anew", tuple(commands), populates=name, role=role)


def _swap(acting: Acting, name: str) -> Step:
    names: dict[str, sql.Composable] = {"app": sql.Identifier(acting.app), "view": sql.Identifier(name)}
    owner = acting.installed.found.views[name].owner
    own = [command("own_view", **names, owner=sql.Identifier(owner))] if owner != acting.actor(owner) else []
    grants = [verbatim(grant) for grant in acting.catalog.view_grants(name)]
    return Step(
        f"put the new view {acting.app}.{name} in place", (command("swap", **names), *own, *grants), role=acting.role
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


def _texts(connection: Connection, query: str, view: str) -> list[str]:
    rows = connection.execute(block("install", query), {"target": OUR_SCHEMA, "view": view}).fetchall()
    return [text for (text,) in rows]
