"""Carries out one transaction, again while its locks are busy."""

from threading import Event

import psycopg

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.partitions import Step
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.transactions import transaction
from analytics_refreshd.postgres.schema.definitions import set_role, verbatim

_ATTEMPTS = 120
_PAUSE_SECONDS = 0.5
_BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


def carry_out(connection: Connection, home: str, step: Step) -> None:
    """Run the step as `home`, again while its locks are busy.

    Raises MigrationError where they are busy for too long, and what the server refuses as psycopg's.
    """
    pause = Event()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with transaction(connection):
                connection.execute(set_role(home))
                for each in step.commands:
                    connection.execute(verbatim(each))
            return
        except _BUSY as error:
            if attempt == _ATTEMPTS:
                raise MigrationError(
                    f"{step.title}: a lock could not be had in {_ATTEMPTS} attempts: end long transactions on"
                    " action_results, then run the same command again to go on"
                ) from error
        pause.wait(_PAUSE_SECONDS)
