"""Replaces the four views, and keeps everything attached to them."""

from collections.abc import Callable

from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.commands import block
from analytics_refreshd.postgres.incremental.preflight import view_obstacles
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, verbatim
from analytics_refreshd.postgres.schema.installed import Catalog


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
    found = catalog.objects(app_schema)
    role = catalog.privileges().role
    connection.execute(command("hold_refreshes"))
    after: list[sql.Composed] = []
    for name in VIEWS:
        progress(name)
        old = sql.Identifier(app_schema, name).as_string()
        connection.execute(definition(name))
        for text in _texts(connection, "view_storage", old):
            connection.execute(verbatim(text))
        names: dict[str, sql.Composable] = {"target": sql.Identifier(OUR_SCHEMA), "view": sql.Identifier(name)}
        connection.execute(command("populate", **names, view_name=sql.Literal(name)))
        for index in found.indexes.values():
            if index.view_name == name and index.valid:
                connection.execute(verbatim(index.definition))
        for text in _texts(connection, "view_comments", old):
            connection.execute(verbatim(text))
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(OUR_SCHEMA, name)))
        names = {"app": sql.Identifier(app_schema), "view": sql.Identifier(name)}
        after.append(command("swap", **names))
        owner = found.views[name].owner
        if owner != role:
            after.append(command("own_view", **names, owner=sql.Identifier(owner)))
            if reads_rollups:
                after.append(block("install", "grant_owner", owner=sql.Identifier(owner)))
        after += [verbatim(grant) for grant in catalog.view_grants(name)]
    connection.execute(command("bound_waiting"))
    for each in after:
        connection.execute(each)


def _texts(connection: Connection, query: str, view: str) -> list[str]:
    rows = connection.execute(block("install", query), {"target": OUR_SCHEMA, "view": view}).fetchall()
    return [text for (text,) in rows]
