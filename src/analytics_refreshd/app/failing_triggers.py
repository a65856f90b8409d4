"""Reads which triggers fail too often."""

from dataclasses import replace

from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.alerts.trigger_rules import BETTER_BY_PERCENT
from analytics_refreshd.core.failing_triggers import TriggerRate, TriggerRates

_EVERY_SECONDS = 300.0


class FailingTriggers:
    """Reads the triggers below the limit every five minutes. Only the leader does, and only where there is a limit."""

    def __init__(self, runtime: Runtime, rates: TriggerRates) -> None:
        self._state = runtime.state
        self._clock = runtime.clock
        self._rates = rates
        self._next_monotonic = runtime.clock.monotonic()
        self._limits: tuple[float | None, int] | None = None

    def read(self) -> None:
        """Read them if that is due. Raises DatabaseFault."""
        snapshot = self._state.snapshot()
        limits = snapshot.state.limits
        percent, least = limits.trigger_success_rate_min_percent, limits.trigger_min_executions
        if percent is None or not snapshot.leads:
            self._known(None)
            return
        now = self._clock.monotonic()
        if (
            snapshot.state.failing_triggers is not None
            and self._limits == (percent, least)
            and now < self._next_monotonic
        ):
            return
        # what was known must not stand for now where they cannot be read
        self._known(None)
        found = tuple(self._rates.below(percent + BETTER_BY_PERCENT, least))
        self._known(found)
        self._limits, self._next_monotonic = (percent, least), now + _EVERY_SECONDS

    def _known(self, triggers: tuple[TriggerRate, ...] | None) -> None:
        if triggers != self._state.current.failing_triggers:
            self._state.change(lambda state: replace(state, failing_triggers=triggers))
