"""After a refresh: how long the dashboards' queries take."""

from collections.abc import Sequence

from analytics_refreshd.app.memory import Memory
from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import ConfigError, DatabaseFault, RefreshdError
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.ports import Clock, EventLog, Metrics
from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import ProbeResult, probe
from analytics_refreshd.postgres.connection.session import Session


def queries_to_probe(config: Config) -> list[Query]:
    """The queries that `[queries] probes` names. Raises ConfigError, naming what is wrong."""
    try:
        catalogue = Catalogue.load(config.queries.directory)
        return [catalogue.get(name) for name in config.queries.probes]
    except RefreshdError as error:
        raise ConfigError([f"[queries] {error}"]) from error


class Prober:
    """Times queries of the catalogue, read-only and within a budget for all of them together."""

    def __init__(
        self,
        queries: Sequence[Query],
        budget_seconds: float,
        *,
        session: Session,
        metrics: Metrics,
        memory: Memory,
        log: EventLog,
        clock: Clock,
    ) -> None:
        self._queries = queries
        self._budget_seconds = budget_seconds
        self._session = session
        self._metrics = metrics
        self._memory = memory
        self._clock = clock
        self._log = log
        self._failing: frozenset[str] = frozenset()
        self.endpoints = tuple(query.endpoint for query in queries)

    def run(self) -> None:
        """Probe once; a probe without an answer leaves no figure behind, and is logged where the last one had one."""
        if not self._queries:
            return
        try:
            results = self._session.run(
                lambda connection: probe(
                    connection,
                    self._queries,
                    self._budget_seconds,
                    self._clock.monotonic,
                    now=self._memory.server_now(),
                    app_schema=self._session.app_schema,
                ),
                seconds=self._budget_seconds,
            )
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
