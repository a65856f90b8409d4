"""The daemon's state in memory, shared by its threads."""

import threading
from collections.abc import Callable
from datetime import datetime

from analytics_refreshd import __version__
from analytics_refreshd.config import Config
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.state import State


def initial_state(config: Config) -> State:
    """Make the state of a process that has read nothing yet."""
    return State(
        database=config.name,
        views=tuple(config.refresh.views),
        limits=config.limits(),
        isolation=config.refresh.isolation,
        version=__version__,
        runbooks_url=config.alerts.runbooks_url,
        unusual_enabled=config.alerts.unusual,
        replica=config.replica,
        history_pending=0,
    )


class StateHolder:
    """Holds the current state. Any thread may read it at any time; changes take turns."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()

    @property
    def current(self) -> State:
        """The state as it is now."""
        return self._state

    def change(self, transition: Callable[[State], State]) -> State:
        """Replace the state by `transition` of it, and return the new one.

        `transition` must be quick and must not call this holder, whose lock it runs under.
        """
        with self._lock:
            self._state = transition(self._state)
            return self._state

    def snapshot(self) -> Snapshot:
        """Return the state at this moment."""
        monotonic = self._clock.monotonic()
        return Snapshot(self._state.known_at(monotonic), self._clock.now(), monotonic)

    def leads(self) -> bool:
        """Tell whether this replica may refresh now."""
        return self.snapshot().leads

    def server_now(self) -> datetime:
        """Return the server's time, as `Snapshot.server_now` does."""
        return self.snapshot().server_now
