"""What `partitions` does, each time over a connection of its own."""

import threading
from collections.abc import Callable
from contextlib import suppress

from analytics_refreshd.app.commands.migrate import connected
from analytics_refreshd.app.commands.stopping import on_stop
from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import DatabaseFault, MigrationError, RefreshdError
from analytics_refreshd.postgres.partitions import run
from analytics_refreshd.postgres.partitions.run import Plan

__all__ = ["Plan", "StoppedError", "apply", "planned"]


class StoppedError(RefreshdError):
    """A signal ended the run. What was done stays, and the next run goes on."""


def planned(config: Config) -> Plan:
    """Say what `--apply` would do; changes nothing."""
    with connected(config) as connection:
        return run.plan(connection, config.database.db_schema)


def apply(config: Config, *, confirm: str | None, told: Callable[[str], None]) -> tuple[str, ...]:
    """Do it; returns what was done. A signal ends it between two commits, or in a transaction that is rolled back."""
    schema, stopped = config.database.db_schema, threading.Event()
    with connected(config) as connection:

        def stop() -> None:
            stopped.set()
            connection.abandon()

        with on_stop(stop):
            try:
                return run.apply(connection, schema, confirm=confirm, told=told)
            except MigrationError:
                if not (stopped.is_set() or connection.closed):
                    raise
                # what refuses rows must not stay behind
                with suppress(DatabaseFault, MigrationError), connected(config) as another:
                    run.release(another, schema)
                if not stopped.is_set():
                    raise
                raise StoppedError("stopped on request: run the same command again to go on") from None
