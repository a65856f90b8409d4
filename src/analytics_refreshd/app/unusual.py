"""Reads, once an hour, which hours of the action types are unusual."""

from dataclasses import replace

from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.hour_series import FURTHEST_BACK, HOUR
from analytics_refreshd.core.ports import HourCells
from analytics_refreshd.core.unusual import LastHour, last_whole_hour, readings

HOURLY_VIEW = "action_metrics_hourly"


class UnusualHours:
    """Compares the last whole hour with earlier days. Only the leader does, and only where that is enabled."""

    def __init__(self, runtime: Runtime, cells: HourCells) -> None:
        self._state = runtime.state
        self._cells = cells

    def read(self) -> None:
        """Read the last hour that the hourly view holds as a whole. Raises DatabaseFault."""
        snapshot = self._state.snapshot()
        known = snapshot.state.unusual
        age = snapshot.age(HOURLY_VIEW)
        if not snapshot.state.unusual_enabled or not snapshot.leads:
            if known is not None:
                self._state.change(lambda state: replace(state, unusual=None))
            return
        if age is None or age.last_success_at is None:
            return
        hour = last_whole_hour(age.last_success_at)
        if known is not None and known.hour == hour:
            return
        # what was known is of an earlier hour, and must not stand for this one where the cells cannot be read
        self._state.change(lambda state: replace(state, unusual=None))
        cells = self._cells.read(hour - FURTHEST_BACK, hour + HOUR)
        found = LastHour(hour, tuple(readings(cells, hour)))
        self._state.change(lambda state: replace(state, unusual=found))
