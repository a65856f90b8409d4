"""Builds the stream from the configuration, and reports what becomes of it."""

from collections.abc import Sequence

from analytics_refreshd.api.access.gate import AccessGate
from analytics_refreshd.api.freshness import Timing
from analytics_refreshd.api.metrics import ApiMetrics
from analytics_refreshd.api.pool import ReadPool
from analytics_refreshd.api.routes import SUMMARY, Route
from analytics_refreshd.api.stream.endpoint import ENDPOINT, Streams, stream_limits
from analytics_refreshd.api.stream.listener import Listener
from analytics_refreshd.api.stream.reading import LiveReader
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import query_settings
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.ports import Clock, EventLog
from analytics_refreshd.core.stream import Ending
from analytics_refreshd.postgres.tenants.wall import Wall


class StreamReports:
    """Counts and logs what could not be read, and ends of streams."""

    def __init__(self, metrics: ApiMetrics, log: EventLog, clock: Clock) -> None:
        self._metrics = metrics
        self._log = log
        self.clock = clock

    def failed(self, error: Exception) -> None:
        """Report why figures cannot be read."""
        self._metrics.failed(ENDPOINT)
        fault = error.message if isinstance(error, DatabaseFault) else None
        message = f"the stream cannot be read: {fault}" if fault else "the stream cannot be read"
        exception = None if fault else error
        self._log.emit(Event.LIBRARY_MESSAGE, level="error", library="api", message=message, exception=exception)

    def finished(self, listener: Listener) -> None:
        """Report a stream that ended."""
        ending = listener.ending or Ending.GONE
        self._metrics.stream_ended(ending)
        self._log.emit(
            Event.STREAM_FINISHED,
            level="info" if ending is Ending.SLOW else "debug",
            request_id=listener.request_id,
            key_id=listener.principal.key_id,
            seconds=round(self.clock.monotonic() - listener.began, 3),
            events=listener.events,
            ending=str(ending),
        )


def build_streams(
    config: Config,
    routes: Sequence[Route],
    pool: ReadPool,
    gate: AccessGate,
    wall: Wall,
    timing: Timing,
    reports: StreamReports,
) -> Streams:
    """Build the stream of a process; start nothing."""
    summary = next(route for route in routes if route.query.name == SUMMARY)
    seconds = config.api.statement_timeout.total_seconds()
    return Streams(
        gate,
        LiveReader(pool, summary, timing.views, wall, seconds, query_settings(config)),
        timing,
        reports.clock,
        stream_limits(config.api.streams, config.api.streams_per_key),
        failed=reports.failed,
        finished=reports.finished,
    )
