"""Whether this process lives and whether it can serve, from memory alone."""

from analytics_refreshd.app.memory import Memory
from analytics_refreshd.core.model import Role
from analytics_refreshd.core.picture import ServiceState
from analytics_refreshd.core.ports import Clock

_SILENT_SECONDS = 30.0
_OVERDUE_SECONDS = 30.0


class Vitals:
    """Implements `core.ports.Health`. Liveness never depends on the database; readiness says what is missing."""

    def __init__(self, memory: Memory, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._began = clock.monotonic()

    def state(self) -> ServiceState:
        """The picture at this moment."""
        return self._memory.state()

    def live(self) -> tuple[bool, str]:
        """Main loop and scheduler were seen lately, and no run is past its deadline."""
        monotonic = self._clock.monotonic()
        facts = self._memory.facts()
        for name, seen in (("main loop", facts.main_seen_monotonic), ("scheduler", facts.scheduler_seen_monotonic)):
            silent = monotonic - (seen if seen is not None else self._began)
            if silent > _SILENT_SECONDS:
                return False, f"the {name} has been silent for {silent:.0f} s"
        deadline = facts.run_deadline_monotonic
        if deadline is not None and monotonic > deadline + _OVERDUE_SECONDS:
            return False, f"the refresh is {monotonic - deadline:.0f} s past its deadline"
        return True, "live"

    def ready(self) -> tuple[bool, str]:
        """The database answers and this replica has a part: it leads, or waits behind one that does."""
        facts = self._memory.facts()
        role = self._memory.role()
        if role is Role.DRAINING:
            return False, "shutting down"
        if facts.down_since is not None:
            return False, f"the database has not answered since {facts.down_since:%H:%M:%S} UTC: {facts.down_error}"
        if facts.leaderless_reason is not None and role is not Role.LEADER:
            return False, facts.leaderless_reason
        if not facts.ever_up:
            return False, "the database has not been reached yet"
        return True, role.value
