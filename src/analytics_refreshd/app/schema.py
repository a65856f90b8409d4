"""Connections and adapters for `migrate` and `check`."""

from collections.abc import Iterator
from contextlib import contextmanager

from analytics_refreshd.app.wiring import connection_settings
from analytics_refreshd.config import Config
from analytics_refreshd.postgres.bounded import BoundedConnection
from analytics_refreshd.postgres.connections import Connector, Profile


@contextmanager
def open_for_migration(config: Config) -> Iterator[BoundedConnection]:
    """An idle autocommit connection without a time limit: building views takes as long as the log is large."""
    profile = Profile(statement_timeout_seconds=0.0, lock_timeout_seconds=0.0, idle_in_transaction_seconds=0.0)
    connection = Connector(connection_settings(config)).connect("migrate", profile)
    try:
        yield connection
    finally:
        connection.close()
