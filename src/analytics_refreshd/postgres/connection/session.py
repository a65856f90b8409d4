"""One connection that several threads share."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import psycopg

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass, OutOfTimeFault
from analytics_refreshd.core.model import Reason
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile, milliseconds
from analytics_refreshd.postgres.connection.errors import translating
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_Value = TypeVar("_Value")
_LEAST_SECONDS = 0.05
_LEAST_CONNECT_SECONDS = 2.0
"""With less, a server that is slow could not be told from one that is away."""


class Session:
    """One connection that status, history, alert state and probes use in turn.

    A connection that died while idle is replaced once, and the work is done again: it must be idempotent.
    """

    def __init__(self, connector: Connector, *, label: str = "status", profile: Profile | None = None) -> None:
        self._connector = connector
        self._label = label
        self._profile = profile or Profile()
        self._turn = threading.RLock()
        self._connection: BoundedConnection | None = None
        self.generation = 0
        """Counts the connections made."""
        self._mine = threading.local()

    @property
    def name(self) -> str:
        """Return the daemon's `[service] name`."""
        return self._connector.settings.name

    @property
    def app_schema(self) -> str:
        """Return the application's schema."""
        return self._connector.settings.app_schema

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit all that this thread does inside to `seconds` together.

        Connecting and waiting for other threads count. What begins later raises DatabaseFault. A statement under way
        is given up within two seconds after that.
        """
        outer = self._until()
        self._mine.until = min(outer, time.monotonic() + seconds)
        try:
            yield
        finally:
            self._mine.until = outer

    def _until(self) -> float:
        until: float = getattr(self._mine, "until", math.inf)
        return until

    def _left(self, least_seconds: float = _LEAST_SECONDS) -> float:
        """Return the seconds left to this thread. Raises DatabaseFault where they are too few to begin anything."""
        left = self._until() - time.monotonic()
        if left < least_seconds:
            raise OutOfTimeFault
        return left

    def run(
        self,
        work: Callable[[BoundedConnection], _Value],
        *,
        seconds: float = 10.0,
        lock_seconds: float = 5.0,
        wait_seconds: float = 15.0,
    ) -> _Value:
        """Do `work` in one transaction, each statement within `seconds`.

        Waits up to `lock_seconds` for each lock, and before that up to `wait_seconds` for other threads' work. Raises
        DatabaseFault.
        """
        if not self._turn.acquire(timeout=min(wait_seconds, self._left())):
            raise DatabaseFault(
                "the connection is busy with other work of this daemon",
                error_class=ErrorClass.CONTENTION,
                reason=Reason.LOCK_TIMEOUT,
            )
        try:
            connection, fresh = self._open()
            try:
                return self._attempt(connection, work, seconds, lock_seconds)
            except DatabaseFault as fault:
                if fresh or fault.error_class is not ErrorClass.CONN_LOST:
                    raise
            return self._attempt(self._open()[0], work, seconds, lock_seconds)
        finally:
            self._turn.release()

    def renew(self) -> None:
        """Let the next work make a new connection. One that is in use stays."""
        if self._turn.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._turn.release()

    def abandon(self) -> None:
        """Give up the statement under way, within 0.2 s.

        Callable from any thread, and from a signal handler. `renew` before the next work.
        """
        connection = self._connection
        if connection is not None:
            connection.abandon()

    def close(self) -> None:
        """End the connection, also while it is in use; from any thread."""
        self.abandon()
        if self._turn.acquire(timeout=1.0):
            try:
                self._drop()
            finally:
                self._turn.release()

    def _open(self) -> tuple[BoundedConnection, bool]:
        if self._connection is not None and not self._connection.closed:
            return self._connection, False
        # only a loss, or the daemon's end, closes an earlier one
        self._connection = self._connector.connect(
            self._label,
            self._profile,
            instead_of_lost=self.generation > 0,
            within_seconds=self._left(_LEAST_CONNECT_SECONDS),
        )
        self.generation += 1
        return self._connection, True

    def _attempt(
        self,
        connection: BoundedConnection,
        work: Callable[[BoundedConnection], _Value],
        seconds: float,
        lock_seconds: float,
    ) -> _Value:
        left = self._left()
        seconds, lock_seconds = min(seconds, left), min(lock_seconds, left)
        limits = {"statement_timeout": milliseconds(seconds), "lock_timeout": milliseconds(lock_seconds)}
        try:
            with (
                translating(connection),
                connection.within(min(2 * seconds + 2.0, left), cancel_seconds=1.0),
                connection.transaction(),
            ):
                connection.execute(blocks("connection/connection.sql")["limit_transaction"], limits)
                return work(connection)
        except DatabaseFault as fault:
            if connection.closed or fault.error_class.ends_connection:
                self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()
