"""The health checks: whether this process lives and whether it can serve, from memory alone."""

from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.core.evaluating import hung_seconds
from analytics_refreshd.core.model import Role
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.core.snapshot import Snapshot

_SILENT_SECONDS = 30.0
_OVERDUE_SECONDS = 30.0


class HealthChecks:
    """Implements `core.ports.Health`. Liveness is independent of the database; readiness says what is missing."""

    def __init__(self, state: StateHolder, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._began = clock.monotonic()

    def snapshot(self) -> Snapshot:
        """Return the state at this moment."""
        return self._state.snapshot()

    def live(self) -> tuple[bool, str]:
        """Check main loop, scheduler, and the deadlines of what is under way.

        Nothing here depends on the database: a restart would lose what waits in memory, and repair no server.
        """
        monotonic = self._clock.monotonic()
        state = self._state.current
        for name, seen in (("main loop", state.main_seen_monotonic), ("scheduler", state.scheduler_seen_monotonic)):
            silent = monotonic - (seen if seen is not None else self._began)
            if silent > _SILENT_SECONDS:
                return False, f"the {name} has been silent for {silent:.0f} s"
        deadline = state.run_deadline_monotonic
        if deadline is not None and monotonic > deadline + _OVERDUE_SECONDS:
            return False, f"the refresh is {monotonic - deadline:.0f} s past its deadline"
        running = self._state.snapshot().evaluation_running_seconds
        if running is not None and running > hung_seconds(state.limits.evaluate_seconds):
            return False, f"an evaluation has been running for {running:.0f} s"
        return True, "live"

    def ready(self) -> tuple[bool, str]:
        """Check that the database answers. This replica must lead, or wait behind a leader."""
        snapshot = self._state.snapshot()
        state, role = snapshot.state, snapshot.role
        since = state.database_down_since
        if role is None or role is Role.DRAINING:
            return False, "shutting down"
        if since is not None:
            return False, f"the database has not answered since {since:%H:%M:%S} UTC: {state.database_error}"
        if state.leaderless_reason is not None and role is not Role.LEADER:
            return False, state.leaderless_reason
        if not state.database_reached:
            return False, "the database has not been reached yet"
        return True, role.value
