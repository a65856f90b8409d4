"""Putting one definition of the four views in place of another, with everything that hung on them."""

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.definitions import FUNCTIONS, OUR_SCHEMA, set_role, verbatim
from analytics_refreshd.postgres.incremental_checks import view_obstacles
from analytics_refreshd.postgres.incremental_sql import block
from analytics_refreshd.postgres.installed import Catalog
from analytics_refreshd.postgres.steps import Draft, Step, command

Connection = psycopg.Connection[Any]


def replace_views(
    connection: Connection,
    app_schema: str,
    definition: Callable[[str], sql.Composed],
    *,
    reads_rollups: bool,
    progress: Callable[[str], None],
) -> None:
    """Build the views that `definition(name)` creates in our schema, then swap them in, inside one transaction.

    Owner, grants, comments, storage and every index stay as they were. Readers wait only for the swap, at most 5 s
    each. Raises MigrationError where something depends on a view; psycopg.errors.LockNotAvailable where readers hold
    one for longer.
    """
    obstacles = list(view_obstacles(connection, app_schema))
    if obstacles:
        raise MigrationError("; ".join(obstacles))
    catalog = Catalog(connection, app_schema)
    installed = catalog.read(compare=False)
    draft = Draft(catalog, installed)
    connection.execute(command("hold_refreshes"))
    steps: list[Step] = []
    for name in VIEWS:
        steps.append(_build(connection, draft, name, definition(name), reads_rollups=reads_rollups))
        steps.append(_swap(draft, name))
    steps.sort(key=lambda step: step.populates is None)
    # the readers are kept waiting from the first swap on
    steps.insert(len(VIEWS), Step("wait 5 s at most for readers", (command("bound_waiting"),)))
    for step in draft.carried_out([*draft.lend_ours("lend_create"), *steps]):
        if step.populates is not None:
            progress(step.populates)
        for each in step.commands:
            connection.execute(each)
    connection.execute(set_role(draft.role))


def _build(connection: Connection, draft: Draft, name: str, definition: sql.Composed, *, reads_rollups: bool) -> Step:
    """Build it as its owner from the first command on: its indexes may call functions of its owner's."""
    found = draft.installed.found
    owner = found.views[name].owner
    role = draft.actor(owner)
    draft.builders.add(role)
    draft.creators |= {draft.role, role}
    old = sql.Identifier(draft.app, name).as_string()
    target: dict[str, sql.Composable] = {"target": sql.Identifier(OUR_SCHEMA), "view": sql.Identifier(name)}
    commands: list[sql.Composed] = []
    if role != draft.home:
        grants = [command("allow_recording", role=sql.Identifier(role))]
        if reads_rollups:
            grants.append(block("install", "grant_owner", owner=sql.Identifier(role)))
        commands += [set_role(draft.home), *grants, set_role(role)]
    commands.append(definition)
    storage = [verbatim(text) for text in _texts(connection, "view_storage", old)]
    if storage:
        # the owner need not have the rights on a tablespace that its view was put into
        commands += [set_role(draft.role), *storage, set_role(role)]
    commands.append(command("populate", **target, view_name=sql.Literal(name)))
    commands += [
        verbatim(index.definition) for index in found.indexes.values() if index.view_name == name and index.valid
    ]
    commands += [verbatim(text) for text in _texts(connection, "view_comments", old)]
    commands.append(sql.SQL("analyze {}").format(sql.Identifier(OUR_SCHEMA, name)))
    return Step(f"build view {draft.app}.{name} anew", tuple(commands), populates=name, role=role)


def _swap(draft: Draft, name: str) -> Step:
    names: dict[str, sql.Composable] = {"app": sql.Identifier(draft.app), "view": sql.Identifier(name)}
    owner = draft.installed.found.views[name].owner
    own = [command("own_view", **names, owner=sql.Identifier(owner))] if owner != draft.actor(owner) else []
    grants = [verbatim(grant) for grant in draft.catalog.view_grants(name)]
    return Step(
        f"put the new view {draft.app}.{name} in place", (command("swap", **names), *own, *grants), role=draft.role
    )


def replace_functions(connection: Connection, app_schema: str, definitions: Mapping[str, sql.Composed]) -> None:
    """Replace functions of the application's schema, each as its owner; create missing ones as our schema's owner."""
    catalog = Catalog(connection, app_schema)
    draft = Draft(catalog, catalog.read(compare=False))
    steps = []
    for name, definition in definitions.items():
        existing = draft.installed.found.functions.get((name, FUNCTIONS[name]))
        role = draft.actor(existing.owner) if existing else draft.home
        draft.creators.add(role)
        steps.append(Step(f"replace function {app_schema}.{name}", (definition,), role=role))
    for step in draft.carried_out(steps):
        for each in step.commands:
            connection.execute(each)
    connection.execute(set_role(draft.role))


def _texts(connection: Connection, query: str, view: str) -> list[str]:
    rows = connection.execute(block("install", query), {"target": OUR_SCHEMA, "view": view}).fetchall()
    return [text for (text,) in rows]
