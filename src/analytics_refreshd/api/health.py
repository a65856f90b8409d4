"""Whether the API's process lives, and whether it can serve."""

from collections.abc import Callable

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.ports import Clock

DEAD_AFTER_SECONDS = 30.0


class ApiHealth:
    """Answers the probes from memory. The server's loop calls `alive` once a second."""

    def __init__(self, clock: Clock, fault: Callable[[], DatabaseFault | None]) -> None:
        self._clock = clock
        self._fault = fault
        self._seen = clock.monotonic()
        self.draining = False

    def alive(self) -> None:
        """Note that the server's loop runs."""
        self._seen = self._clock.monotonic()

    def live(self) -> tuple[bool, str]:
        """Whether the server's loop runs, and if not since when. Independent of the database."""
        silent = self._clock.monotonic() - self._seen
        return silent < DEAD_AFTER_SECONDS, f"the server's loop has been silent for {silent:.0f} s"

    def ready(self) -> tuple[bool, str]:
        """Whether requests can be answered now, and if not why."""
        if self.draining:
            return False, "stopping"
        live, why = self.live()
        if not live:
            return False, why
        fault = self._fault()
        if fault is not None and fault.reason is Reason.CONTRACT:
            return False, fault.message
        return fault is None, "" if fault is None else "the database cannot be reached"
