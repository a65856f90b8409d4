"""Figures that are true to the second: what was counted once, and what changed since."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Self

from analytics_refreshd.core.thresholds import Threshold

_CENT = Decimal("0.01")
_USUAL = Threshold()


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over executions, or changes of such sums.

    `timed` counts those that have a duration; `duration_total_ms` is the sum of these.
    """

    executions: int = 0
    successes: int = 0
    failures: int = 0
    timed: int = 0
    duration_total_ms: int = 0
    retries: int = 0

    def plus(self, other: Self, sign: int = 1) -> "Counts":
        """Return the sums with others added; with `sign` -1 taken away."""
        return Counts(*(getattr(self, each.name) + sign * getattr(other, each.name) for each in fields(self)))

    @property
    def success_rate(self) -> Decimal | None:
        """Return the percentage of successes, as PostgreSQL rounds it. None: nothing ran."""
        return _rounded(100 * self.successes, self.executions)

    @property
    def avg_duration_ms(self) -> Decimal | None:
        """Return the mean duration. None: nothing has one."""
        return _rounded(self.duration_total_ms, self.timed)

    def status(self, limits: Threshold) -> str | None:
        """Return the word for the success rate, as the query `summary` does. None: nothing ran."""
        if self.executions <= 0:
            return None
        percent = Decimal(100 * self.successes) / self.executions
        if percent >= Decimal(str(limits.healthy_percent)):
            return "healthy"
        return "degraded" if percent >= Decimal(str(limits.degraded_percent)) else "unhealthy"


Hours = Mapping[datetime, Counts]
"""The sums of each hour, by its beginning."""


def hours_plus(hours: Hours, others: Hours, sign: int = 1) -> dict[datetime, Counts]:
    """Return the hours with others added; with `sign` -1 taken away."""
    both = dict(hours)
    for hour, counts in others.items():
        both[hour] = both.get(hour, Counts()).plus(counts, sign)
    return both


def total(hours: Iterable[Counts]) -> Counts:
    """Return the sums of all hours together."""
    whole = Counts()
    for counts in hours:
        whole = whole.plus(counts)
    return whole


def summarized(hours: Hours, limits: Threshold = _USUAL) -> dict[str, object]:
    """Return the figures of `health/summary` that sums give, by their names there."""
    whole = total(hours.values())
    return {
        "total_executions": whole.executions,
        "total_successes": whole.successes,
        "total_failures": whole.failures,
        "success_rate": whole.success_rate,
        "avg_duration_ms": whole.avg_duration_ms,
        "total_retries": whole.retries,
        "hours_with_data": sum(1 for counts in hours.values() if counts.executions > 0),
        "status": whole.status(limits),
    }


def _rounded(part: int, whole: int) -> Decimal | None:
    if whole <= 0:
        return None
    return (Decimal(part) / whole).quantize(_CENT, ROUND_HALF_UP)
