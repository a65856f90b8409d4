"""Times the dashboards' queries after a refresh."""

from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.ports import ProbeResult, Probes


class Prober:
    """Times queries of the catalogue, read-only and within a common budget."""

    def __init__(self, runtime: Runtime, probes: Probes, budget_seconds: float) -> None:
        self._probes = probes
        self._budget_seconds = budget_seconds
        self._metrics = runtime.metrics
        self._state = runtime.state
        self._log = runtime.log
        self._failing: frozenset[str] = frozenset()
        self.endpoints = probes.endpoints

    def run(self) -> None:
        """Time every query once. A query without an answer loses its figure; its first miss is logged."""
        if not self.endpoints:
            return
        try:
            results = self._probes.run(self._budget_seconds, self._state.server_now())
        except DatabaseFault as fault:
            results = [ProbeResult(endpoint, None, fault.message) for endpoint in self.endpoints]
        for result in results:
            self._metrics.probed(result.endpoint, result.seconds)
            if result.seconds is None and result.endpoint not in self._failing:
                self._log.emit(
                    Event.LIBRARY_MESSAGE,
                    level="warning",
                    library="probes",
                    message=f"{result.endpoint} has no answer: {result.error}",
                )
        self._failing = frozenset(result.endpoint for result in results if result.seconds is None)
