"""What every part of the daemon shares."""

from dataclasses import dataclass, field

from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.core.ports import Clock, EventLog, Metrics
from analytics_refreshd.core.telemetry import NoTracer, Tracer


@dataclass(frozen=True, slots=True)
class Runtime:
    """The shared parts of one process. `database` tells whether the database answers."""

    state: StateHolder
    database: DatabaseAvailability
    log: EventLog
    metrics: Metrics
    clock: Clock
    tracer: Tracer = field(default_factory=NoTracer)
