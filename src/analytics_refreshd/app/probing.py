"""After a refresh: how long the dashboards' queries take."""

from analytics_refreshd.app.memory import Memory
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.ports import EventLog, Metrics, ProbeResult, Probes


class Prober:
    """Times queries of the catalogue, read-only and within a budget for all of them together."""

    def __init__(
        self,
        probes: Probes,
        budget_seconds: float,
        *,
        metrics: Metrics,
        memory: Memory,
        log: EventLog,
    ) -> None:
        self._probes = probes
        self._budget_seconds = budget_seconds
        self._metrics = metrics
        self._memory = memory
        self._log = log
        self._failing: frozenset[str] = frozenset()
        self.endpoints = probes.endpoints

    def run(self) -> None:
        """Probe once; a probe without an answer leaves no figure behind, and is logged where the last one had one."""
        if not self.endpoints:
            return
        try:
            results = self._probes.run(self._budget_seconds, self._memory.server_now())
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
