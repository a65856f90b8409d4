"""Create the application's tables and COPY rows, in the caller's transaction."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import cast

import psycopg
from psycopg import sql

from analytics_refreshd.demo import DemoError
from analytics_refreshd.demo.actions import Action
from analytics_refreshd.demo.csvlog import ActionLog
from analytics_refreshd.demo.world import World
from analytics_refreshd.postgres.connection import sqlfiles

Connection = psycopg.Connection[tuple[object, ...]]
_PACKAGE = "analytics_refreshd.demo.sql"
_PROGRESS_EVERY = 1000
_fields = attrgetter(*Action.__slots__)


@cache
def statement(name: str, schema: str = "public", *, view: str = "", role: str = "") -> sql.Composed:
    """Return a named block of `demo.sql`, for the application in `schema`."""
    block = sqlfiles.blocks("demo.sql", _PACKAGE)[name]
    names = {"app": schema, "view": view, "role": role}
    return sql.SQL(block).format(**{key: sql.Identifier(value) for key, value in names.items()})


def create_database(admin_dsn: str) -> None:
    """Create the demo's database, unless kept data contain it."""
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        exists = connection.execute(statement("database_exists")).fetchone()
        if not exists or not exists[0]:
            connection.execute(statement("create_database"))


def create_application(connection: Connection, schema: str = "public") -> None:
    """Create the application's four source tables in an existing schema."""
    text = sqlfiles.text("application.sql", _PACKAGE)
    connection.execute(sql.SQL(text).format(app=sql.Identifier(schema)))


@dataclass(frozen=True, slots=True)
class Kept:
    """What the database of an earlier demo contains."""

    actions: int
    are_generated: bool


def kept_actions(connection: Connection) -> Kept | None:
    """Return what an earlier demo loaded; None without the application's tables."""
    exists = connection.execute(statement("application_exists")).fetchone()
    if not exists or not exists[0]:
        return None
    found = connection.execute(statement("kept_actions")).fetchone()
    assert found is not None  # noqa: S101
    actions, are_generated = found
    return Kept(cast("int", actions), bool(are_generated))


def load_world(connection: Connection, world: World, created_at: datetime) -> None:
    """Load organizations, users and triggers."""
    organizations = [
        (one.id, one.name, one.slug, one.owner_id, one.plan, created_at, created_at) for one in world.organizations
    ]
    users = [(one.id, one.username, one.email, created_at, created_at) for one in world.users]
    triggers = [
        (
            one.id,
            one.user_id,
            one.organization_id,
            one.name,
            one.description,
            one.chain_id,
            one.registry,
            one.enabled,
            one.is_stateful,
            created_at,
            created_at,
        )
        for one in world.triggers
    ]
    for name, rows in (("organizations", organizations), ("users", users), ("triggers", triggers)):
        _copy(connection, name, rows)


def load_references(connection: Connection, log: ActionLog, created_at: datetime) -> None:
    """Load the triggers and organizations of a real log by their ids."""
    ids = sorted({one for one in log.organizations.values() if one is not None})
    _copy(connection, "organizations", [(one, one, one, None, "free", created_at, created_at) for one in ids])
    rows = [
        (trigger, None, organization, trigger, None, None, None, True, False, created_at, created_at)
        for trigger, organization in sorted(log.organizations.items())
    ]
    _copy(connection, "triggers", rows)


def load_actions(connection: Connection, actions: Iterable[Action], progress: Callable[[int], None]) -> int:
    """COPY `actions` and return their number.

    `progress` gets the number loaded so far, now and then and at the end. Raises DemoError for a row that PostgreSQL
    refuses.
    """
    loaded = 0
    try:
        with connection.cursor().copy(statement("actions")) as copy:
            for action in actions:
                copy.write_row(_fields(action))
                loaded += 1
                if loaded % _PROGRESS_EVERY == 0:
                    progress(loaded)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        where = (error.diag.context or "").splitlines()
        raise DemoError(
            f"PostgreSQL refuses an action: {error.diag.message_primary} ({where[0] if where else 'row unknown'})"
        ) from error
    progress(loaded)
    return loaded


def _copy(connection: Connection, name: str, rows: Iterable[tuple[object, ...]]) -> None:
    with connection.cursor().copy(statement(name)) as copy:
        for row in rows:
            copy.write_row(row)
