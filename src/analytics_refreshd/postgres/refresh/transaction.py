"""The connections that refresh, kept between runs, and their transactions."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass, not_writable
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.redaction import redact_error
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile, search_path
from analytics_refreshd.postgres.connection.errors import fault_of, translating
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting
from analytics_refreshd.postgres.refresh.measuring import PlanLoader, cost_of_plan

_ROLLBACK_SECONDS = 5.0
_MOST_NOTICES = 10
_QUERY_CANCELED = "57014"


@cache
def beginning(kind: str) -> str:
    """Return the first statement of a "cycle", "fold" or "view" transaction."""
    parts = blocks("refresh/refresh.sql")
    return parts[f"begin_{kind}"].format(
        session=parts["session"], hidden=parts["hidden"], incremental=trusting("refresh/refresh.sql", "incremental")
    )


class RunState:
    """Holds what a run's threads share: deadline, cancellation, notices."""

    def __init__(self, deadline_seconds: float, cancel_seconds: float) -> None:
        self.cancel_seconds = cancel_seconds
        self._began = time.monotonic()
        self._deadline = self._began + deadline_seconds
        self._lock = threading.Lock()
        self.cancelled = threading.Event()
        self.over = threading.Event()
        self.notices: list[str] = []
        self.notice_count = 0

    def elapsed_seconds(self) -> float:
        """Return the seconds since the run's call began."""
        return time.monotonic() - self._began

    def remaining_seconds(self) -> float:
        """Return the seconds until the deadline; negative after it."""
        return self._deadline - time.monotonic()

    def add_notice(self, text: str) -> None:
        """Count a notice, and keep the first ten: a function may raise thousands."""
        with self._lock:
            self.notice_count += 1
            if len(self.notices) < _MOST_NOTICES:
                self.notices.append(redact_error(text))

    def raise_if_ended(self) -> None:
        """Raise DatabaseFault of class cancelled after a cancel or the deadline."""
        if self.cancelled.is_set():
            raise DatabaseFault("the refresh was cancelled", error_class=ErrorClass.CANCELLED, reason=Reason.SHUTDOWN)
        if self.remaining_seconds() <= 0:
            raise DatabaseFault(
                "the refresh's deadline has passed", error_class=ErrorClass.CANCELLED, reason=Reason.TIMEOUT
            )


class RefreshConnection:
    """A connection kept between runs, and replaced once it is found dead."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        # each transaction sets its own limits
        self._profile = Profile()
        self._connection: BoundedConnection | None = None
        self._lost = False
        self._run: RunState | None = None

    @contextmanager
    def transaction(
        self, run: RunState, begin: LiteralString, parameters: Mapping[str, Any]
    ) -> Iterator["Transaction"]:
        """Begin a transaction with the statement `begin`; commit at the end.

        Any error rolls back. A connection that died while idle is replaced once. Everything inside ends at the run's
        deadline.
        """
        self._run = run
        run.raise_if_ended()
        fresh = self._open()
        try:
            first = self._begin(run, begin, parameters)
        except DatabaseFault as fault:
            if fresh or fault.error_class is not ErrorClass.CONN_LOST:
                raise
            run.raise_if_ended()
            self._open()
            first = self._begin(run, begin, parameters)
        connection = self._connection
        if connection is None:
            raise AssertionError("a transaction was begun on no connection")
        done = False
        try:
            with self._limited(connection, run):
                run.raise_if_ended()
                yield Transaction(connection, first, run, int(parameters["statement_timeout"]) / 1000)
            # the work is done: the commit gets a few seconds even after the deadline
            with connection.within(_ROLLBACK_SECONDS), translating(connection, committing=True):
                connection.execute("commit")
            done = True
        except DatabaseFault as fault:
            self._give_up_after(fault)
            raise
        finally:
            if not done:
                self._rollback()

    def cancel(self, seconds: float) -> None:
        """Ask the server, from any thread, to end the running statement."""
        connection = self._connection
        if connection is not None and not connection.closed:
            with suppress(psycopg.Error, OSError):
                connection.cancel_safe(timeout=seconds)

    def abandon(self) -> None:
        """Free the thread that waits on this connection, which then closes it."""
        connection = self._connection
        if connection is not None:
            connection.abandon()

    def drop(self) -> None:
        """Close the connection on purpose: the next one is no reconnect.

        For the thread that owns it, or while nothing runs.
        """
        self._give_up()
        self._lost = False

    def _give_up(self) -> None:
        """Close a connection that is dead, or whose server cannot be used."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._lost = True
            with suppress(psycopg.Error):
                connection.close()

    def _open(self) -> bool:
        if self._connection is not None and not self._connection.closed and not self._connection.abandoned:
            return False
        self._give_up()
        self._connection = self._connector.connect("refresh", self._profile, instead_of_lost=self._lost)
        self._lost = False
        self._connection.add_notice_handler(self._on_notice)
        return True

    def _begin(self, run: RunState, statement: LiteralString, parameters: Mapping[str, Any]) -> dict[str, Any]:
        connection = self._connection
        if connection is None:
            raise AssertionError("begin without a connection")
        try:
            with self._limited(connection, run):
                # together, so that even behind a pooler no statement of ours finds operators by another session's path
                connection.execute("begin; set local search_path = pg_catalog, pg_temp")
                first = connection.cursor(row_factory=dict_row).execute(statement, parameters).fetchone() or {}
        except DatabaseFault as fault:
            self._rollback()
            self._give_up_after(fault)
            raise
        if first["read_only"] != "off":
            read_only = not_writable()
            self._give_up_after(read_only)
            raise read_only
        return first

    @contextmanager
    def _limited(self, connection: BoundedConnection, run: RunState) -> Iterator[None]:
        with (
            translating(connection),
            connection.within(run.remaining_seconds(), cancel_seconds=run.cancel_seconds),
        ):
            yield

    def _rollback(self) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            return
        try:
            with connection.within(_ROLLBACK_SECONDS):
                connection.execute("rollback")
        except psycopg.Error:
            self._give_up()

    def _give_up_after(self, fault: DatabaseFault) -> None:
        """Close the connection where the fault ends it."""
        if fault.error_class is ErrorClass.NOT_PRIMARY:
            # a server ends a session some time after its client: until then its fence would keep the next attempt out
            self._rollback()
        closed = self._connection is None or self._connection.closed
        if closed or fault.error_class.ends_connection:
            self._give_up()

    def _on_notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if self._run is not None:
            self._run.add_notice(diagnostic.message_primary or "")


class Transaction:
    """An open transaction. `first` is its first statement's row, by column name.

    The server says 57014 for a time limit and for `pg_cancel_backend` alike, and its text may be translated. What ended
    before `limit_seconds` (0: no limit) and was not ours to cancel was cancelled by somebody: reason cancelled.
    """

    def __init__(
        self, connection: BoundedConnection, first: Mapping[str, Any], run: RunState, limit_seconds: float
    ) -> None:
        self._connection = connection
        self.first = first
        self._run = run
        self._limit_seconds = limit_seconds

    @contextmanager
    def _telling_who_cancelled(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            with translating(self._connection):
                yield
        except DatabaseFault as fault:
            in_time = not self._limit_seconds or time.monotonic() - began < self._limit_seconds
            ours = self._run.cancelled.is_set() or self._run.remaining_seconds() <= 0
            if fault.sqlstate == _QUERY_CANCELED and in_time and not ours:
                fault.reason = Reason.CANCELLED
            raise

    @contextmanager
    def finding_in(self, app_schema: str) -> Iterator[None]:
        """Find names in the application's schema too, for others' code.

        An operator there may fit better than pg_catalog's: what runs inside must use none itself.
        """
        self._find_by(search_path(app_schema))
        yield
        # after an error the transaction is over, and the setting with it
        self._find_by(search_path())

    def _find_by(self, path: str) -> None:
        with translating(self._connection):
            self._connection.execute(blocks("refresh/refresh.sql")["search_path"], {"search_path": path})

    def fetch(self, statement: sql.Composed, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Raises DatabaseFault."""
        with self._telling_who_cancelled():
            return self._connection.execute(statement, parameters).fetchall()

    def measure(self, statement: sql.Composed, parameters: Mapping[str, Any] | None = None) -> Cost | None:
        """Carry out what the block `measured` explains; return its cost. Raises DatabaseFault."""
        with self._telling_who_cancelled():
            cursor = self._connection.cursor()
            cursor.adapters.register_loader("json", PlanLoader)
            row = cursor.execute(statement, parameters).fetchone()
        return cost_of_plan(row[0], self.first["block_bytes"]) if row else None

    def execute(self, statement: sql.Composed) -> None:
        """Run a statement that returns no rows. Raises DatabaseFault."""
        with self._telling_who_cancelled():
            self._connection.execute(statement)

    def attempt(self, statement: sql.Composed) -> list[tuple[Any, ...]] | DatabaseFault:
        """Return the rows of a query that may fail, or its fault.

        It runs in a savepoint: after a failure the transaction goes on. Raises DatabaseFault where the connection was
        lost.
        """
        with translating(self._connection):
            try:
                with self._connection.transaction():
                    return self._connection.execute(statement).fetchall()
            except psycopg.Error as error:
                if self._connection.closed:
                    raise
                return fault_of(error, closed=False)
