"""When limits are reached, as keys for all organizations see it."""

import threading
from collections.abc import Callable, Sequence

from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.outlook import LimitDays, Outlook, day_outlooks, disk_outlook, unknown_outlooks

_EVERY_SECONDS = 3600.0
_AGAIN_SECONDS = 600.0

Read = Callable[[int], tuple[LimitDays, Sequence[SizeSample]]]
"""Reads the days with at least so many executions, and the database's sizes. Raises DatabaseFault."""


class KeptOutlooks:
    """Keeps the outlooks for an hour. The first request afterwards reads them, and others wait for that."""

    def __init__(self, read: Read, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._read = read
        self._limits = limits
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: tuple[float, tuple[Outlook, ...]] | None = None

    def get(self) -> tuple[Outlook, ...]:
        """Return the outlooks.

        What cannot be read is unknown for ten minutes. Raises DatabaseFault where the database is away.
        """
        with self._lock:
            now = self._monotonic()
            if self._kept is None or now >= self._kept[0]:
                self._kept = self._found(now)
            return self._kept[1]

    def _found(self, now: float) -> tuple[float, tuple[Outlook, ...]]:
        try:
            days, sizes = self._read(self._limits.min_executions)
        except DatabaseFault as fault:
            if fault.error_class.away:
                raise
            return now + _AGAIN_SECONDS, unknown_outlooks(self._limits, "it could not be read")
        disk = disk_outlook(sizes, self._limits, days.read_at)
        known = day_outlooks(days, self._limits)
        return now + _EVERY_SECONDS, known if disk is None else (*known, disk)
