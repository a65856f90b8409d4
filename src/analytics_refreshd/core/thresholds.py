"""From where on a figure is a warning, or critical: in general, of an organization, of an action type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Threshold:
    """Limits in force together.

    A success rate below `success_warning_percent` is a warning, a 95th percentile above `latency_warning_ms`, too. All
    executions together are healthy from `healthy_percent` on, degraded from `degraded_percent`, else unhealthy.
    """

    success_warning_percent: float = 80
    success_critical_percent: float = 50
    latency_warning_ms: int = 5000
    latency_critical_ms: int = 10_000
    healthy_percent: float = 95
    degraded_percent: float = 90


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits in general, and those of some organizations and action types. Each is complete."""

    general: Threshold = Threshold()
    organizations: Mapping[str, Threshold] = field(default_factory=dict)
    types: Mapping[str, Threshold] = field(default_factory=dict)

    def of(self, organizations: Sequence[str] | None, action_type: str | None = None) -> Threshold:
        """Return the limits of figures over these organizations, or one type.

        A type's own limits count before those of an organization, and these only for figures of it alone.
        """
        if action_type is not None and action_type in self.types:
            return self.types[action_type]
        if organizations is not None and len(organizations) == 1:
            return self.organizations.get(organizations[0], self.general)
        return self.general
