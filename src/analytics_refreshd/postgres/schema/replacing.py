"""Puts new views in the place of installed ones, and keeps what hangs on them.

A view is built in our schema, where it disturbs nobody, and put in place at the end. Readers that come meanwhile wait
for the transaction's end, and then find the new one: none finds it missing or empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from analytics_refreshd.postgres.connection import Connection, sqlfiles
from analytics_refreshd.postgres.schema import dependents
from analytics_refreshd.postgres.schema.acting import Acting, Step
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, set_role, verbatim


@dataclass(frozen=True, slots=True)
class Replacement:
    """A view to build: what creates it in our schema, with indexes and comments of ours, which others' follow.

    `own_indexes` name those that `creates` brings. `grants` let its owner read what it reads, as the owner of our
    schema.
    """

    name: str
    columns: tuple[str, ...]
    creates: tuple[sql.Composed, ...]
    own_indexes: tuple[str, ...] = ()
    grants: tuple[sql.Composed, ...] = ()


def build(connection: Connection, acting: Acting, view: Replacement) -> Step:
    """Return the step that builds the view in our schema, with the old one's indexes, comments and storage.

    As its owner from the first command on: its indexes may call functions of its owner's.
    """
    found = acting.installed.found
    role = acting.actor(acting.owner_of(found.views[view.name]))
    acting.builders.add(role)
    # the swap creates there with its role's rights, and for the owner
    acting.creators |= {acting.role, role}
    target: dict[str, sql.Composable] = {"target": sql.Identifier(OUR_SCHEMA), "view": sql.Identifier(view.name)}
    commands: list[sql.Composed] = []
    if role != acting.home:
        recording = command("allow_recording", role=sql.Identifier(role))
        commands += [set_role(acting.home), recording, *view.grants, set_role(role)]
    commands += view.creates
    storage = _texts(connection, acting, "view_storage", view.name)
    if storage:
        # the owner need not have the rights on a tablespace that its view was put into
        commands += [set_role(acting.role), *storage, set_role(role)]
    commands.append(command("populate", **target, view_name=sql.Literal(view.name)))
    commands += [
        verbatim(index.definition)
        for index in found.indexes.values()
        if index.view_name == view.name and index.valid and index.name not in view.own_indexes
    ]
    commands += _texts(connection, acting, "view_comments", view.name, view.columns)
    commands.append(sql.SQL("analyze {}").format(sql.Identifier(OUR_SCHEMA, view.name)))
    return Step(f"build view {acting.app}.{view.name} again", tuple(commands), populates=view.name, role=role)


def put_in_place(connection: Connection, acting: Acting, names: Sequence[str]) -> list[Step]:
    """Return the steps that put built views in place, in one transaction, and create again what depended on the old."""
    if not names:
        return []
    hanging = dependents.dependents(connection, acting.app, names)
    return [
        # a queued lock that excludes readers makes every later reader wait with it
        Step("wait 5 s at most for readers", (command("bound_waiting"),)),
        *dependents.dropping(acting, hanging),
        *(_swap(connection, acting, name) for name in names),
        *dependents.creating(acting, hanging),
    ]


def _swap(connection: Connection, acting: Acting, name: str) -> Step:
    names: dict[str, sql.Composable] = {"app": sql.Identifier(acting.app), "view": sql.Identifier(name)}
    owner = acting.owner_of(acting.installed.found.views[name])
    own = [command("own_view", **names, owner=sql.Identifier(owner))] if owner != acting.actor(owner) else []
    grants = [verbatim(grant) for grant in acting.catalog.view_grants(name)]
    grants = [*_texts(connection, acting, "default_grants", name), *grants]
    commands = (command("swap", **names), *own, *grants, *_texts(connection, acting, "view_statistics", name))
    return Step(f"put the new view {acting.app}.{name} in place", commands, role=acting.role)


def _texts(
    connection: Connection, acting: Acting, query: str, name: str, columns: Sequence[str] = ()
) -> list[sql.Composed]:
    values = {"target": OUR_SCHEMA, "view": sql.Identifier(acting.app, name).as_string(), "columns": list(columns)}
    rows = connection.execute(sqlfiles.blocks("schema/dependents.sql")[query], values).fetchall()
    return [verbatim(str(text)) for (text,) in rows]
