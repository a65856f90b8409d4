"""Writes what the API has to write, as its role."""

import threading
from collections.abc import Callable
from typing import TypeVar

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.errors import translating
from analytics_refreshd.postgres.tenants.keys import refuse_untrusted_tenants

_Value = TypeVar("_Value")
_MOST = 2
_SECONDS = 5.0
_PROFILE = Profile(statement_timeout_seconds=2.0, lock_timeout_seconds=2.0, idle_in_transaction_seconds=_SECONDS)


class Primary:
    """Transactions on the primary, each over a connection of its own: nothing is sent twice, and none stays open."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._free = threading.BoundedSemaphore(_MOST)

    def run(self, label: str, work: Callable[[BoundedConnection], _Value]) -> _Value:
        """Return what `work` makes in a transaction. Raises DatabaseFault.

        `label` is what the server shows of the connection.
        """
        if not self._free.acquire(timeout=_SECONDS):
            raise DatabaseFault(
                "others ask for something, too", error_class=ErrorClass.CONTENTION, reason=Reason.LOCK_TIMEOUT
            )
        try:
            connection = self._connector.connect(label, _PROFILE)
            try:
                with translating(connection), connection.within(_SECONDS), connection.transaction():
                    refuse_untrusted_tenants(connection, self._connector.settings.app_schema)
                    return work(connection)
            finally:
                connection.close()
        finally:
            self._free.release()
