"""The sections `[staleness]` and `[alerts]`."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from analytics_refreshd.config.values import Duration, PositiveDuration, Section, between


class StalenessSection(Section):
    """How old a view may be."""

    max_age: PositiveDuration | None = None
    critical_age: PositiveDuration | None = None
    views: dict[str, PositiveDuration] = Field(default_factory=dict)


class AlertsSection(Section):
    """When to raise an alert."""

    evaluate_every: PositiveDuration | None = None
    stale_for: Duration | None = None
    slow_after: PositiveDuration = timedelta(seconds=5)
    slow_after_runs: Annotated[int, Field(ge=1, le=100)] = 2
    failed_after_runs: Annotated[int, Field(ge=1, le=100)] = 2
    resolve_after_runs: Annotated[int, Field(ge=1, le=100)] = 2
    success_rate_min: Annotated[float, Field(ge=0, le=100)] = 90.0
    latency_p95_max: PositiveDuration = timedelta(seconds=1)
    min_executions: Annotated[int, Field(ge=1)] = 20
    database_unavailable_for: Duration = timedelta(minutes=2)
    history_failing_for: Duration = timedelta(minutes=15)
    no_leader_for: Duration = timedelta(minutes=10)
    disk_bytes: Annotated[int, Field(ge=1)] | None = None
    disk_full_within: PositiveDuration = timedelta(days=14)
    repeat_every: Annotated[Duration, between("1m")] = timedelta(hours=4)
    unusual: bool = False
    trigger_success_rate_min: Annotated[float, Field(ge=0, le=100)] | None = None
    trigger_min_executions: Annotated[int, Field(ge=1)] = 20
    runbooks_url: str = "deploy/runbooks"
