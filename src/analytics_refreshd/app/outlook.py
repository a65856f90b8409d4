"""Reads, once an hour, when limits will be reached."""

from dataclasses import replace

from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.outlook import LimitDaysReader, Outlook, day_outlooks, unknown_outlooks

_EVERY_SECONDS = 3600.0
_AGAIN_SECONDS = 600.0


class LimitOutlooks:
    """Reads days and forecasts from them when limits are reached. Every replica does: each one shows it."""

    def __init__(self, runtime: Runtime, days: LimitDaysReader) -> None:
        self._state = runtime.state
        self._clock = runtime.clock
        self._days = days
        self._next_monotonic = runtime.clock.monotonic()
        self._limits: Limits | None = None

    def read(self) -> None:
        """Read them if that is due, or the limits are others now. Raises DatabaseFault.

        What cannot be read is unknown, and read again after ten minutes: it is worth no query each half minute.
        """
        limits, now = self._state.current.limits, self._clock.monotonic()
        if limits == self._limits and now < self._next_monotonic:
            return
        try:
            days = self._days.read(limits.min_executions)
        except DatabaseFault as fault:
            if fault.error_class.away:
                raise
            self._known(unknown_outlooks(limits, f"it could not be read: {fault.message}"))
            self._limits, self._next_monotonic = limits, now + _AGAIN_SECONDS
            raise
        self._known(day_outlooks(days, limits))
        self._limits, self._next_monotonic = limits, now + _EVERY_SECONDS

    def _known(self, outlooks: tuple[Outlook, ...]) -> None:
        self._state.change(lambda state: replace(state, outlooks=outlooks))
