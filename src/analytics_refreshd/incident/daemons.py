"""Daemons that came without the one before them having gone: killed or crashed, of which the dead write no line."""

from dataclasses import dataclass
from datetime import datetime

from analytics_refreshd.incident.fields import Fields, count_of
from analytics_refreshd.incident.model import LIMIT, Crash

_REPLICAS = 10 * LIMIT


@dataclass(slots=True)
class _Life:
    """A daemon that has not said `daemon.stopped`; `pid` where its own start is in the log."""

    pid: int | None
    last_at: datetime
    stopping_at: datetime | None = None


class Daemons:
    """The daemon of each replica. One is known to live by its `daemon.started`, or by a change of leader."""

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}

    def heard(self, at: datetime, replica: str) -> None:
        """Any line but those of a start, which a successor writes."""
        life = self._lives.get(replica)
        if life is not None:
            life.last_at = at

    def leads(self, at: datetime, replica: str) -> None:
        """`leader.*`: no command leads, so a daemon lives."""
        if replica not in self._lives:
            self._live(replica, _Life(None, at))

    def started(self, at: datetime, replica: str, fields: Fields) -> Crash | None:
        """`daemon.started`; tells where the one before had not stopped."""
        before, pid = self._lives.pop(replica, None), count_of(fields, "pid")
        self._live(replica, _Life(pid, at))
        if before is None:
            return None
        return Crash(replica, at, pid, before.last_at, before.pid, before.stopping_at)

    def _live(self, replica: str, life: _Life) -> None:
        if len(self._lives) >= _REPLICAS:
            del self._lives[next(iter(self._lives))]  # pods come and go under ever new names
        self._lives[replica] = life

    def stopping(self, at: datetime, replica: str) -> None:
        """`daemon.stopping`."""
        life = self._lives.get(replica)
        if life is not None:
            life.stopping_at = life.stopping_at or at

    def stopped(self, replica: str) -> None:
        """`daemon.stopped`."""
        self._lives.pop(replica, None)
