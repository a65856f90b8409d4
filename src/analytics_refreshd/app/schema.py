"""Connections and adapters for `migrate` and `check`."""

from collections.abc import Iterator
from contextlib import contextmanager

from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.app.wiring import connection_settings
from analytics_refreshd.config import Config
from analytics_refreshd.postgres.check.findings import Finding
from analytics_refreshd.postgres.check.run import CheckSettings, run_checks
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile


@contextmanager
def open_for_migration(config: Config) -> Iterator[BoundedConnection]:
    """An idle autocommit connection without a time limit: building views takes as long as the log is large."""
    profile = Profile(statement_timeout_seconds=0.0, lock_timeout_seconds=0.0, idle_in_transaction_seconds=0.0)
    connection = Connector(connection_settings(config)).connect("migrate", profile)
    try:
        yield connection
    finally:
        connection.close()


def check_database(config: Config) -> list[Finding]:
    """Everything that `check` finds in the database, in the order in which to read it; changes nothing."""
    settings = CheckSettings(
        function=config.refresh.function,
        status_function=config.refresh.status_function,
        views=tuple(config.refresh.views),
        isolation=config.refresh.isolation,
        parallel=config.refresh.parallel,
    )
    return run_checks(Connector(connection_settings(config)), settings, SystemClock().now)
