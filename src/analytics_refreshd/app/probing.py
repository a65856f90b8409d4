"""After a refresh: how long the dashboards' queries take."""

from analytics_refreshd.app.memory import Memory
from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.ports import Clock, Metrics
from analytics_refreshd.postgres.queries import probe
from analytics_refreshd.postgres.query_files import Catalogue
from analytics_refreshd.postgres.session import Session


class Prober:
    """Times the configured queries of the catalogue, read-only and within a budget; raises for an unknown name."""

    def __init__(self, config: Config, session: Session, metrics: Metrics, memory: Memory, clock: Clock) -> None:
        catalogue = Catalogue.load(config.queries.directory)
        self._queries = [catalogue.get(name) for name in config.queries.probes]
        self._budget_seconds = config.queries.probe_budget.total_seconds()
        self._session = session
        self._metrics = metrics
        self._memory = memory
        self._clock = clock
        self.errors: dict[str, str] = {}

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints that are probed."""
        return tuple(query.endpoint for query in self._queries)

    def run(self) -> None:
        """Probe once; a probe without an answer is left out of the metrics and noted in `errors`."""
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
            self.errors = {endpoint: fault.message for endpoint in self.endpoints}
            return
        self.errors = {result.endpoint: result.error for result in results if result.error}
        for result in results:
            if result.seconds is not None:
                self._metrics.probed(result.endpoint, result.seconds)
