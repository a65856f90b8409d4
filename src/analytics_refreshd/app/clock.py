"""The one place where the clocks are read."""

import time
from datetime import UTC, datetime


class SystemClock:
    """The machine's clocks; implements `core.ports.Clock`."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment, never stepping."""
        return time.monotonic()
