"""Whether the database answers: one state for all connections, logged when it changes."""

import threading

from analytics_refreshd.app.memory import Memory
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.ports import EventLog


class DatabaseHealth:
    """Every thread reports what it met; the first failure and the first success after it are logged."""

    def __init__(self, memory: Memory, log: EventLog) -> None:
        self._memory = memory
        self._log = log
        self._lock = threading.Lock()
        self._missed_slots = 0

    def failed(self, fault: DatabaseFault) -> None:
        """A connection could not be made or was lost; other faults say nothing about the database being there, and
        nor do the connections that a stop ends."""
        if not fault.error_class.away or self._memory.facts().draining:
            return
        with self._lock:
            facts = self._memory.facts()
            if facts.down_since is not None:
                self._memory.update(down_error=fault.message)
                return
            self._memory.update(down_since=self._memory.server_now(), down_error=fault.message)
            # before anybody else learns of it: no run may be told as ok ahead of the line that explains it
            self._log.emit(
                Event.DATABASE_LOST,
                level="warning",
                error=fault.message,
                sqlstate=fault.sqlstate,
                reason=fault.reason.value,
            )

    def answered(self) -> None:
        """A statement succeeded."""
        with self._lock:
            facts = self._memory.facts()
            if facts.down_since is None:
                if not facts.ever_up:
                    self._memory.update(ever_up=True)
                return
            now = self._memory.server_now()
            away = (now - facts.down_since).total_seconds()
            missed, self._missed_slots = self._missed_slots, 0
            self._memory.update(down_since=None, down_error=None, ever_up=True, last_outage=(facts.down_since, now))
            self._log.emit(Event.DATABASE_RESTORED, seconds=round(away, 3), missed_slots=missed)

    def slot_missed(self) -> int:
        """Count a slot that passed while the database was away; returns how many there were."""
        with self._lock:
            self._missed_slots += 1
            return self._missed_slots

    @property
    def down(self) -> bool:
        """Whether the database was away when last heard of."""
        return self._memory.facts().down_since is not None
