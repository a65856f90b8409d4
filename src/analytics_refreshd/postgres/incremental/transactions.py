"""Transactions of a change that takes several: one change at a time, and locks that are waited for briefly."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.commands import block
from analytics_refreshd.postgres.incremental.preflight import Found, failures_named, installed_for
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import set_role

# while CREATE TRIGGER waits, every later writer waits behind it: so it waits briefly, and tries again
_LOCK_ATTEMPTS = 60
_LOCK_PAUSE_SECONDS = 1.0


@contextmanager
def alone(connection: Connection, app_schema: str) -> Iterator[Found]:
    """Hold the migration lock over several transactions; yield what was found."""
    if not connection.autocommit or connection.info.transaction_status != TransactionStatus.IDLE:
        raise ValueError("the incremental mode needs an idle connection in autocommit mode")
    with failures_named():
        limit = connection.execute(block("install", "statement_timeout")).fetchone() or ("0",)
        connection.execute(block("install", "set_statement_timeout"), ["0"])
        row = connection.execute(block("install", "lock")).fetchone()
        if not row or not row[0]:
            raise MigrationError("another migration is running here: wait for its end, then run this again")
        try:
            yield installed_for(connection, app_schema)
        finally:
            if not connection.closed:
                connection.execute(block("install", "unlock"))
                connection.execute(block("install", "set_statement_timeout"), list(limit))


@contextmanager
def transaction(connection: Connection, role: str | None = None) -> Iterator[None]:
    """A transaction with our settings, as `role`: a superuser does as our schema's owner what that owner can do."""
    with connection.transaction():
        connection.execute(command("begin"))
        if role is not None:
            connection.execute(set_role(role))
        yield


def briefly(connection: Connection, change: Callable[..., None], *arguments: Any) -> None:
    """Run `change` in a transaction, again while its locks are busy."""
    pause = Event()
    for attempt in range(1, _LOCK_ATTEMPTS + 1):
        try:
            with transaction(connection):
                change(connection, *arguments)
            return
        except psycopg.errors.LockNotAvailable as error:
            if attempt == _LOCK_ATTEMPTS:
                raise MigrationError(
                    f"a lock could not be had in {_LOCK_ATTEMPTS} attempts: end long transactions on "
                    "action_results and its views, then run the same command again to go on"
                ) from error
        pause.wait(_LOCK_PAUSE_SECONDS)
