"""Finds what the API has in a database, and creates it."""

import hashlib
import re
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.postgres.connection import Connection, sqlfiles
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.definitions import compose, set_role, verbatim
from analytics_refreshd.postgres.tenants.wall import WallSecret

_TENANTS, _WALL, _LIVE = "tenants/tenants.sql", "tenants/wall.sql", "tenants/live.sql"
_HORIZON, _QUESTIONS, _OUTLOOK = "tenants/horizon.sql", "tenants/questions.sql", "tenants/outlook.sql"
_CREATED = re.compile(r"create or replace (?:view|function) analytics_api\.(\w+)")
OURS = "What the role of the API of analytics-refreshd may use"
"""How the comment of the schema begins."""


@dataclass(frozen=True, slots=True)
class Tenants:
    """What there is of the schema analytics_api.

    Its `comment` tells by which definitions it was made. `members` is whether the application keeps members. `names`
    are those of views and functions, `foreign_objects` describe what belongs to others. `misled` names views and
    functions that read a relation which is none of the application's any more.
    """

    present: bool
    comment: str | None
    members: bool
    names: list[str]
    foreign_objects: list[str]
    misled: list[str]

    @property
    def ours(self) -> bool:
        """Whether `migrate` made it."""
        return self.comment is not None and self.comment.startswith(OURS)


def tenants(connection: Connection, app_schema: str, home: str) -> Tenants:
    """Read what there is. `home` is the role that is to own it."""
    with connection.cursor(row_factory=class_row(Tenants)) as cursor:
        (found,) = cursor.execute(_block(_TENANTS, "found"), {"home": home, "schema": app_schema}).fetchall()
    return found


def dependents(connection: Connection) -> list[str]:
    """Return what others hung on the schema, described for a person."""
    return [str(row[0]) for row in connection.execute(_block(_TENANTS, "dependents")).fetchall()]


def note_secret(connection: Connection, app_schema: str, secret: bytes) -> bool:
    """Note the secret by which the API admits transactions.

    Returns whether it was not noted yet. The one before stays good. Raises psycopg.Error.
    """
    keys = WallSecret.of(secret)
    values = {"secret_id": keys.secret_id, "inner_key": keys.inner_key, "outer_key": keys.outer_key}
    with connection.transaction():
        connection.execute(set_role(Catalog(connection, app_schema).home()))
        row = connection.execute(sqlfiles.blocks(_WALL)["note_secret"], values).fetchone()
    return bool(row and row[0])


def secret_noted(connection: Connection, app_schema: str) -> bool:
    """Return whether any secret of the API is noted. Raises psycopg.Error."""
    with connection.transaction():
        connection.execute(set_role(Catalog(connection, app_schema).home()))
        row = connection.execute(sqlfiles.blocks(_WALL)["secret_noted"]).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True, slots=True)
class TenantCommands:
    """The commands that create what the API needs. `home` is to own it."""

    home: str
    app_schema: str
    members: bool

    def schema(self) -> sql.Composed:
        """Return the command that creates the schema."""
        return compose(sqlfiles.blocks(_TENANTS)["create_schema"], home=sql.Identifier(self.home))

    def tables(self) -> tuple[sql.Composed, ...]:
        """Return the commands that create the tables."""
        return tuple(_block(file, "tables") for file in (_TENANTS, _WALL, _QUESTIONS))

    def objects(self) -> tuple[sql.Composed, ...]:
        """Return the commands that create functions and views, or renew them."""
        app = sql.Identifier(self.app_schema)
        memberships = ("members" if self.members else "owners", "memberships_comment")
        names = ("functions", *memberships, "views")
        wall = (compose(sqlfiles.blocks(_WALL)[name], app=app) for name in names)
        keys = compose(sqlfiles.blocks(_TENANTS)["functions"], app=app)
        questions = compose(sqlfiles.blocks(_QUESTIONS)["functions"], app=app)
        live, horizon = (_block(file, "functions") for file in (_LIVE, _HORIZON))
        return keys, *wall, live, _outlook(), horizon, questions, _block(_TENANTS, "grants")

    def names(self) -> set[str]:
        """Return the names of the views and functions."""
        return {name for each in self.objects() for name in _CREATED.findall(each.as_string(None))}

    def comment(self) -> str:
        """Return the schema's comment, which changes with any of these commands."""
        text = "\n".join(each.as_string(None) for each in (*self.tables(), *self.objects()))
        version = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{OURS}; made by definitions {version}."

    def note(self) -> sql.Composed:
        """Return the command that notes by which definitions all this was made."""
        return compose(sqlfiles.blocks(_TENANTS)["note"], comment=sql.Literal(self.comment()))

    @staticmethod
    def drop() -> sql.Composed:
        """Return the command that drops the schema."""
        return _block(_TENANTS, "drop")


def _outlook() -> sql.Composed:
    """Return the commands for the functions of the outlook.

    A day's figure is that of the daemon, of runs that are admitted.
    """
    statements = sqlfiles.blocks(_OUTLOOK)
    history = sqlfiles.blocks("state/history.sql")
    like_others = history["like_others"].format(among=history["days_not_thinned"])
    run_days = sqlfiles.blocks("state/outlook.sql")["run_days"]
    days = run_days.format(among=statements["admitted_days"], like_others=like_others)
    return verbatim(statements["functions"].format(run_days=days))


def _block(file: str, name: str) -> sql.Composed:
    return verbatim(sqlfiles.blocks(file)[name])
