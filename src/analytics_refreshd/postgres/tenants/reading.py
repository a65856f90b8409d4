"""Reads in an admitted transaction, in two round trips."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import psycopg

from analytics_refreshd.postgres.connection.batch import BatchConnection, Row, Statement
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.tenants.wall import Wall, admitting

_FILE = "tenants/reading.sql"
_BEGIN = Statement("begin isolation level repeatable read, read only")
# what a text set for the session is undone
_ROLLBACK = Statement("rollback")


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a transaction is opened for.

    It sees `organizations`, None for all. With `plan_anew` the server plans each statement for its values. `views` are
    those whose last successes are read too; None: none can be read.
    """

    organizations: tuple[str, ...] | None
    search_path: str
    timeout_ms: int
    plan_anew: bool
    views: tuple[str, ...] | None


Successes = dict[str, datetime]


def read(
    connection: BatchConnection, wall: Wall, wanted: Transaction, statements: Sequence[Statement]
) -> tuple[Successes, list[list[Row]]]:
    """Return the views' last successes and each statement's rows.

    All are read at one moment. Raises psycopg.Error.
    """
    with _begun(connection, wanted) as transaction:
        admit = _admit(wall, wanted, transaction)
        told, *rows = connection.batch([admit, *statements, _ROLLBACK])
    return _successes(told, wanted), rows[:-1]


@contextmanager
def admitted(connection: BatchConnection, wall: Wall, wanted: Transaction) -> Iterator[Successes]:
    """Open the transaction, and yield the views' last successes.

    It is for rows that come bit by bit. Raises psycopg.Error.
    """
    with _begun(connection, wanted) as transaction:
        (told,) = connection.batch([_admit(wall, wanted, transaction)])
        yield _successes(told, wanted)


@contextmanager
def _begun(connection: BatchConnection, wanted: Transaction) -> Iterator[str]:
    """Begin a transaction, and yield what it is called. It is rolled back in the end."""
    values = {
        "search_path": wanted.search_path,
        "timeout": str(wanted.timeout_ms),
        "plans": "force_custom_plan" if wanted.plan_anew else "auto",
    }
    try:
        _, ((*_, transaction),) = connection.batch([_BEGIN, Statement(blocks(_FILE)["configure"], values)])
        yield str(transaction)
    finally:
        if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE and not connection.closed:
            # what happened before tells more; the pool throws a connection away that it finds in a transaction
            with suppress(psycopg.Error):
                connection.batch([_ROLLBACK])


def _admit(wall: Wall, wanted: Transaction, transaction: str) -> Statement:
    token = wall.token(transaction, wanted.organizations)
    if wanted.views is None:
        return admitting(token)
    return Statement(blocks(_FILE)["admit_and_read"], {"token": token, "views": _array(wanted.views)})


@lru_cache(maxsize=100)
def _array(names: tuple[str, ...]) -> str:
    """Write names as the server reads an array: these are the same at each request."""
    quoted = ('"' + name.replace("\\", r"\\").replace('"', r"\"") + '"' for name in names)
    return "{" + ",".join(quoted) + "}"


def _successes(told: Sequence[Row], wanted: Transaction) -> Successes:
    return {} if wanted.views is None else {str(view): at for view, at in told if at is not None}
