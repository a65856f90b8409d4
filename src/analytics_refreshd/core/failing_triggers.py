"""Triggers whose actions fail too often."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MOST_TRIGGERS = 20
"""The busiest that fail too often: each is an alert."""


@dataclass(frozen=True, slots=True)
class TriggerRate:
    """A trigger's actions of the last 24 hours."""

    trigger_id: str
    executions: int
    success_rate_percent: float


class TriggerRates(Protocol):
    """Reads the triggers' success rates."""

    def below(self, percent: float, min_executions: int) -> Sequence[TriggerRate]:
        """Read the busiest triggers below a success rate, `MOST_TRIGGERS` at most.

        The rate is that of the last 24 hours. Those with fewer than `min_executions` are left out. Raises
        DatabaseFault.
        """
