"""Whether the database answers: one answer for all connections, logged when it changes."""

import threading
from collections.abc import Callable

from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass, WrongSchemaFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.ports import EventLog


class DatabaseAvailability:
    """Collects what every thread meets. Logs the first failure, and the first success after it.

    `connections_made` counts the connections made so far. A refused connection is over only with the next one made:
    sessions made before it go on answering, and would end an outage every few seconds that keeps every new one out.
    """

    def __init__(self, state: StateHolder, log: EventLog, connections_made: Callable[[], int] = lambda: 0) -> None:
        self._state = state
        self._log = log
        self._connections_made = connections_made
        self._refused_after: int | None = None
        self._lock = threading.Lock()
        self._missed_slots = 0
        self.wrong_schema: str | None = None
        """Why this daemon must not serve this database; None as long as it may."""

    def failed(self, fault: DatabaseFault) -> None:
        """Note that a connection failed or was lost.

        Other faults say nothing about whether the database is there, and neither do connections that a stop ends.
        """
        if isinstance(fault, WrongSchemaFault):
            self.wrong_schema = fault.message
        if not fault.error_class.away or self._state.current.draining:
            return
        with self._lock:
            known = self.down
            if fault.error_class is ErrorClass.CONNECT:
                self._refused_after = self._connections_made()
            now = self._state.server_now()
            self._state.change(lambda state: state.database_lost(now, fault.message))
            if not known:
                # under the lock: whoever reports a run as ok does so after the line that explains the outage
                self._log.emit(
                    Event.DATABASE_LOST,
                    level="warning",
                    error=fault.message,
                    sqlstate=fault.sqlstate,
                    reason=fault.reason.value,
                )

    def answered(self) -> None:
        """Note that a statement succeeded, on a connection that may write."""
        with self._lock:
            made = self._connections_made()
            if self._refused_after is not None and 0 < made <= self._refused_after:
                return
            self._refused_after = None
            since = self._state.current.database_down_since
            now = self._state.server_now()
            if since is None and self._state.current.database_reached:
                return
            self._state.change(lambda state: state.database_answered(now))
            if since is not None:
                missed, self._missed_slots = self._missed_slots, 0
                seconds = round((now - since).total_seconds(), 3)
                self._log.emit(Event.DATABASE_RESTORED, seconds=seconds, missed_slots=missed)

    def slot_missed(self) -> int:
        """Count a slot missed while the database was away. Returns their number."""
        with self._lock:
            self._missed_slots += 1
            return self._missed_slots

    @property
    def down(self) -> bool:
        """Whether the database was away when last asked."""
        return self._state.current.database_down
