"""What commands share that change the action log in portions."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from analytics_refreshd.app.commands.stopping import on_stop
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import connection_settings
from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.core.retention import Pace, Standbys, slot_is_near
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session

KEY_SECONDS = 0.5
STOP_SECONDS = 1.0
"""How long after a fault a signal that caused it may say so."""
_LAG_SECONDS = 1.0


class RefusedError(RefreshdError):
    """Nothing may be changed. The text says why, and what to do."""


class OtherRunError(RefreshdError):
    """Another run is under way in this database."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. `waits_for` is empty while it works."""

    rows_done: int
    rows_to_go: int
    waits_for: str = ""


class Turns:
    """Says when the next portion may begin, and waits for that.

    `until` is when no more may begin, by the monotonic clock. `waiting` is told for what it waits.
    """

    def __init__(
        self,
        config: Config,
        stop: threading.Event,
        standbys: Callable[[], Standbys],
        waiting: Callable[[str], None],
        until: float = float("inf"),
    ) -> None:
        self._schedule = config.plan()
        self._max_lag = config.retention.max_lag
        self._stop = stop
        self._standbys = standbys
        self._waiting = waiting
        self._until = until
        self._standbys_at = 0.0

    @property
    def out_of_time(self) -> bool:
        """Whether no more may begin."""
        return time.monotonic() >= self._until

    def may_begin(self, pace: Pace) -> bool:
        """Wait for the turn of the next portion.

        False if there is none.
        """
        self.wait(pace.rest_seconds)
        while not self._stop.is_set() and not self.out_of_time:
            now = datetime.now(UTC)
            schedule = self._schedule
            if slot_is_near(now, schedule.slot_at(now), schedule.next_slot(now)):
                self.wait(KEY_SECONDS, "a refresh")
            elif self._behind():
                self.wait(_LAG_SECONDS, "a standby that is behind")
            else:
                return True
        return False

    def wait(self, seconds: float, waits_for: str = "") -> None:
        """Wait, unless a signal or the end of all time comes first."""
        if waits_for:
            self._waiting(waits_for)
        self._stop.wait(max(0.0, min(seconds, self._until - time.monotonic(), threading.TIMEOUT_MAX)))

    def _behind(self) -> bool:
        if time.monotonic() < self._standbys_at:
            return False
        if self._standbys().behind(self._max_lag):
            return True
        self._standbys_at = time.monotonic() + _LAG_SECONDS
        return False


@contextmanager
def connected(config: Config, label: str) -> Iterator[Session]:
    """Open one session for a command, closed at the end."""
    session = Session(Connector(connection_settings(config)), label=label)
    try:
        yield session
    finally:
        session.close()


@contextmanager
def stopping(session: Session) -> Iterator[threading.Event]:
    """End the statement that runs on SIGTERM and SIGINT.

    The event is set then, and the portion rolled back.
    """
    stop = threading.Event()

    def give_up() -> None:
        # only once: what comes after the first is on a new connection
        if not stop.is_set():
            session.abandon()
            stop.set()

    with on_stop(give_up):
        yield stop
