"""Detect daemons that were killed or crashed.

They write no last line. What shows is a daemon that starts though the one before it had not stopped.
"""

from dataclasses import dataclass
from datetime import datetime

from analytics_refreshd.incident.fields import Fields, count_of
from analytics_refreshd.incident.model import LIMIT, Crash

_REPLICAS = 10 * LIMIT


@dataclass(slots=True)
class _Life:
    """A daemon without a `daemon.stopped` line so far. `pid` is known if its start is in the log."""

    pid: int | None
    last_at: datetime
    stopping_at: datetime | None = None


class Daemons:
    """Keep which daemon of each replica lives.

    A daemon lives from its `daemon.started`, or from a change of leader if that start is not in the log.
    """

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}

    def heard(self, at: datetime, replica: str) -> None:
        """Handle any line except those of a start, which the successor writes."""
        life = self._lives.get(replica)
        if life is not None:
            life.last_at = at

    def leads(self, at: datetime, replica: str) -> None:
        """Handle `leader.*`, which only a daemon writes."""
        if replica not in self._lives:
            self._live(replica, _Life(None, at))

    def started(self, at: datetime, replica: str, fields: Fields) -> Crash | None:
        """Handle `daemon.started`. Returns a Crash if the daemon before had not stopped."""
        before, pid = self._lives.pop(replica, None), count_of(fields, "pid")
        self._live(replica, _Life(pid, at))
        if before is None:
            return None
        return Crash(replica, at, pid, before.last_at, before.pid, before.stopping_at)

    def _live(self, replica: str, life: _Life) -> None:
        if len(self._lives) >= _REPLICAS:
            del self._lives[next(iter(self._lives))]  # every pod has a new name, so old ones must go
        self._lives[replica] = life

    def stopping(self, at: datetime, replica: str) -> None:
        """Handle `daemon.stopping`."""
        life = self._lives.get(replica)
        if life is not None:
            life.stopping_at = life.stopping_at or at

    def stopped(self, replica: str) -> None:
        """Handle `daemon.stopped`."""
        self._lives.pop(replica, None)
