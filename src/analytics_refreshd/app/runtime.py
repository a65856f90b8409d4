"""What every part of the daemon shares."""

from dataclasses import dataclass

from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.core.ports import Clock, EventLog, Metrics


@dataclass(frozen=True, slots=True)
class Runtime:
    """The shared parts of one process. `database` tells whether the database answers."""

    state: StateHolder
    database: DatabaseAvailability
    log: EventLog
    metrics: Metrics
    clock: Clock
