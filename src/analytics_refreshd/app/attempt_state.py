"""What a run's attempts leave behind."""

from dataclasses import dataclass, field
from datetime import datetime

from analytics_refreshd.app.election import LockWatch
from analytics_refreshd.app.run_logger import RunExtras
from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.telemetry import NoSpan, Span


@dataclass(slots=True)
class AttemptState:
    """What a run's attempts leave behind.

    It is the last one's watch, span and cost; their number, a lost COMMIT, the extras. `began_at` is when the last call
    began, `replied_monotonic` when it returned.
    """

    watch: LockWatch
    count: int = 0
    unsettled: DatabaseFault | None = None
    began_at: datetime | None = None
    replied_monotonic: float = 0.0
    extras: RunExtras = field(default_factory=RunExtras)
    cost: Cost | None = None
    rows_folded: int | None = None
    span: Span = field(default_factory=NoSpan)
