"""Finds what the API has in a database, and creates it."""

import hashlib
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.postgres.connection import Connection, sqlfiles
from analytics_refreshd.postgres.schema.definitions import compose, verbatim

_FILE = "tenants/tenants.sql"
OURS = "What the role of the API of analytics-refreshd may use"
"""How the comment of the schema begins."""


@dataclass(frozen=True, slots=True)
class Tenants:
    """What there is of the schema analytics_api.

    Its `comment` tells by which definitions it was made. `foreign_objects` describe what belongs to others.
    """

    present: bool
    comment: str | None
    foreign_objects: list[str]


def tenants(connection: Connection, home: str) -> Tenants:
    """Read what there is. `home` is the role that is to own it."""
    with connection.cursor(row_factory=class_row(Tenants)) as cursor:
        (found,) = cursor.execute(_block("found"), {"home": home}).fetchall()
    return found


def dependents(connection: Connection) -> list[str]:
    """Return what others hung on the schema, described for a person."""
    return [str(row[0]) for row in connection.execute(_block("dependents")).fetchall()]


@dataclass(frozen=True, slots=True)
class TenantCommands:
    """The commands that create what the API needs, for the role that is to own it."""

    home: str

    def schema(self) -> sql.Composed:
        """Return the command that creates the schema."""
        return compose(sqlfiles.blocks(_FILE)["create_schema"], home=sql.Identifier(self.home))

    def tables(self) -> sql.Composed:
        """Return the commands that create the tables."""
        return _block("tables")

    def functions(self) -> sql.Composed:
        """Return the commands that create the functions, or renew them."""
        return _block("functions")

    def comment(self) -> str:
        """Return the schema's comment, which changes with any of these commands."""
        text = "\n".join(each.as_string(None) for each in (self.tables(), self.functions()))
        version = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{OURS}; made by definitions {version}."

    def note(self) -> sql.Composed:
        """Return the command that notes by which definitions all this was made."""
        return compose(sqlfiles.blocks(_FILE)["note"], comment=sql.Literal(self.comment()))

    @staticmethod
    def drop() -> sql.Composed:
        """Return the command that drops the schema."""
        return _block("drop")


def _block(name: str) -> sql.Composed:
    return verbatim(sqlfiles.blocks(_FILE)[name])
