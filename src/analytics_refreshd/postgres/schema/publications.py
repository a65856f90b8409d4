"""Which tables of ours publications send, and what their subscribers need.

A subscriber that receives a row of a table that it lacks stops, and its slot keeps the publisher's WAL for ever.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.core.errors import PublicationError
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection import Connection, sqlfiles
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, compose

_HEAD = f"""\
-- For each subscriber of this database: empty tables like those of schema {OUR_SCHEMA}. Without them it stops.
-- Run it there as the owner of the subscription. It adds only what is missing, and fills nothing.
create schema if not exists {OUR_SCHEMA};
"""


@dataclass(frozen=True, slots=True)
class Published:
    """A table of ours that a publication sends, with the columns that it sends."""

    publication: str
    table_name: str
    columns: list[str]


@dataclass(frozen=True, slots=True)
class Slot:
    """A logical replication slot of this database; `kept` is the WAL that it keeps, in words."""

    name: str
    active: bool
    kept: str | None

    def __str__(self) -> str:
        state = "active" if self.active else f"not active, keeps {self.kept or 'an unknown amount'} of WAL"
        return f"{printable(self.name)} ({state})"


def _rows(connection: Connection, name: str, row: type[Any]) -> list[Any]:
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(sqlfiles.blocks("schema/publications.sql")[name]).fetchall()


def _names(connection: Connection, name: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(sqlfiles.blocks("schema/publications.sql")[name]).fetchall()]


def published(connection: Connection) -> list[Published]:
    """Return the tables of ours that publications send now."""
    return _rows(connection, "published", Published)


def publications_of_new_tables(connection: Connection) -> list[str]:
    """Return the publications that send every table created in our schema."""
    return _names(connection, "future")


def slots(connection: Connection) -> list[Slot]:
    """Return the logical replication slots of this database."""
    return _rows(connection, "slots", Slot)


def subscriptions(connection: Connection) -> list[str]:
    """Return the subscriptions that write into tables of ours."""
    return _names(connection, "subscribed")


def subscriber_sql(connection: Connection) -> str:
    """Return the commands that give a subscriber tables like ours, as psql takes them."""
    return "\n".join([_HEAD, *_names(connection, "subscriber"), ""])


def subscriber_sql_after(connection: Connection, change: Callable[[], None]) -> str:
    """Return `subscriber_sql` as it is after `change`, which is rolled back."""
    with connection.transaction(force_rollback=True):
        change()
        return subscriber_sql(connection)


def require_prepared(connection: Connection, change: Callable[[], None], *, accepted: bool) -> tuple[str, ...]:
    """Refuse a change of our tables that subscribers would not survive.

    `change` is tried and rolled back, inside the caller's transaction. With `accepted` the refusal is a warning, which
    is returned. Raises PublicationError with the commands for the subscribers.
    """
    row = connection.execute(sqlfiles.blocks("schema/publications.sql")["possible"]).fetchone()
    if row is None or not row[0]:
        return ()
    before, after, commands = published(connection), [], ""
    # who may not change anything is told so by the plan itself
    with (
        suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction),
        connection.transaction(force_rollback=True),
    ):
        change()
        after, commands = published(connection), subscriber_sql(connection)
    sent = sorted({one.publication for one in after if one not in before})
    if not sent:
        return ()
    names = ", ".join(printable(name) for name in sent)
    subject = f"publications {names} send" if len(sent) > 1 else f"publication {names} sends"
    text = (
        f"{subject} what this changes in schema {OUR_SCHEMA} to subscribers (logical slots: "
        f"{', '.join(map(str, slots(connection))) or 'none now'}), and a subscriber without these tables stops"
    )
    if accepted:
        return (f"{text}: `analytics-refreshd migrate --subscriber-sql` prints what each of them needs",)
    raise PublicationError(
        f"{text}: run the SQL of `analytics-refreshd migrate --subscriber-sql` on each of them, then the same command "
        "again with --accept-publication",
        subscriber_sql=commands,
    )


def unidentified_tables(connection: Connection, *, only_published: bool) -> list[str]:
    """Return the tables of ours that have neither a primary key nor a replica identity."""
    rows = connection.execute(sqlfiles.blocks("schema/publications.sql")["unidentified"]).fetchall()
    return [str(name) for name, is_published in rows if is_published or not only_published]


def identify(table: str) -> sql.Composed:
    """Return the command by which a publication identifies the rows of `table` by all their columns."""
    return compose(sqlfiles.blocks("schema/publications.sql")["identify"], table=sql.Identifier(table))
