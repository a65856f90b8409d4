"""The API's connections to the database: a pool that survives its absence."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from analytics_refreshd.postgres.catalogue.times import read_every_time
from analytics_refreshd.postgres.connection.batch import BatchConnection
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.errors import cannot_connect, translating
from analytics_refreshd.postgres.tenants.freshness import records_successes
from analytics_refreshd.postgres.tenants.horizon import knows_horizon
from analytics_refreshd.postgres.tenants.keys import refuse_missing_tenants, refuse_untrusted_tenants

_Value = TypeVar("_Value")
_WAIT_SECONDS = 2.0
_RECONNECT_SECONDS = 5.0
_LIFETIME_SECONDS = 600.0
"""After which a connection is replaced: grants and settings of the role count from then on."""
_FAIL_FAST_SECONDS = 0.8
_TRY_SECONDS = 1.0


class PooledConnection(BatchConnection):
    """A connection of the pool.

    `records` says whether our record of successes can be read, `knows_horizon` whether the frozen horizon can.
    """

    records: bool = False
    knows_horizon: bool = False


class ReadPool:
    """Lends connections that read, at most `size` at a time.

    It opens without the database, and finds it again by itself.
    """

    def __init__(self, connector: Connector, profile: Profile, size: int) -> None:
        self._connector = connector
        self._profile = profile
        self._size = size
        self._lock = threading.Lock()
        self._failed_at: float | None = None
        self._fault: DatabaseFault | None = cannot_connect("no connection was made yet")
        self._lent: set[BoundedConnection] = set()
        self._stopped = threading.Event()
        self._pool = cast(
            "ConnectionPool[PooledConnection]",
            ConnectionPool(
                connection_class=self._class(),
                min_size=1,
                max_size=size,
                open=False,
                timeout=_WAIT_SECONDS,
                max_waiting=0,
                max_lifetime=_LIFETIME_SECONDS,
                reconnect_timeout=_RECONNECT_SECONDS,
                num_workers=1,
                name="api",
            ),
        )

    def open(self) -> None:
        """Begin to connect, without waiting for it."""
        self._pool.open(wait=False)
        threading.Thread(target=self._find_again, name="reconnect", daemon=True).start()

    @property
    def fault(self) -> DatabaseFault | None:
        """Return why the last attempt to connect failed.

        None where it did not.
        """
        return self._fault

    def read(self, work: Callable[[PooledConnection], _Value], seconds: float) -> _Value:
        """Return what `work` reads within `seconds`.

        The wait for a connection comes on top. Connections that died while idle are replaced and `work` is done again:
        it must only read. Raises DatabaseFault.
        """
        for left in range(self._size, -1, -1):
            try:
                with self._connection() as connection, translating(connection):
                    with connection.within(seconds + 1.0, cancel_seconds=0.5):
                        return work(connection)
            except DatabaseFault as fault:
                if left and fault.error_class is ErrorClass.CONN_LOST:
                    continue
                raise
        raise AssertionError("the last attempt returns or raises")

    def _find_again(self) -> None:
        """Try to connect every second while the database is away. Without requests nothing else tries."""
        while not self._stopped.wait(_TRY_SECONDS):
            if self._fault is not None:
                with suppress(DatabaseFault):
                    self.read(lambda connection: None, _TRY_SECONDS)

    def close(self) -> None:
        """Give up what is lent, and close all connections."""
        self._stopped.set()
        with self._lock:
            lent = list(self._lent)
        for connection in lent:
            connection.abandon()
        self._connector.stop()
        self._pool.close(timeout=1.0)

    @contextmanager
    def _connection(self) -> Iterator[PooledConnection]:
        failed_at = self._failed_at
        if failed_at is not None and time.monotonic() - failed_at < _FAIL_FAST_SECONDS and self._fault is not None:
            raise self._fault
        try:
            connection = self._pool.getconn()
        except (PoolTimeout, PoolClosed) as error:
            raise self._fault or _busy(error) from None
        with self._lock:
            self._lent.add(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._lent.discard(connection)
            with suppress(psycopg.Error):
                self._pool.putconn(connection)

    def _class(self) -> type[PooledConnection]:
        """Return the class by which the pool connects, over the connector."""
        connect = self._connect

        class Pooled(PooledConnection):
            @classmethod
            def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
                return connect()

        return Pooled

    def _connect(self) -> BoundedConnection:
        try:
            connection = self._connector.connect("api", self._profile, kind=PooledConnection)
            assert isinstance(connection, PooledConnection)  # noqa: S101 - `kind` says so
            with translating(connection), connection.within(5.0):
                read_every_time(connection)
                refuse_untrusted_tenants(connection, self._connector.settings.app_schema)
                # without it no request can be answered, so that this process must not be called ready
                refuse_missing_tenants(connection)
                connection.records = records_successes(connection)
                connection.knows_horizon = knows_horizon(connection)
            # so that a transaction begins in one round trip
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
        except DatabaseFault as fault:
            self._fault, self._failed_at = fault, time.monotonic()
            # for the pool, which logs what it meets
            raise psycopg.OperationalError(fault.message) from None
        self._fault = self._failed_at = None
        return connection


def _busy(error: Exception) -> DatabaseFault:
    if isinstance(error, PoolClosed):
        return cannot_connect("the server is stopping")
    return DatabaseFault(
        f"no connection became free within {_WAIT_SECONDS:g} s: all are busy, or none could be made yet",
        error_class=ErrorClass.RESOURCE,
        reason=Reason.TOO_MANY_CONNECTIONS,
    )
