"""The section `[thresholds]`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from analytics_refreshd.config.values import PositiveDuration, Section, between
from analytics_refreshd.core.thresholds import Threshold, Thresholds

_Percent = Annotated[float, Field(ge=0, le=100)]
_Latency = Annotated[PositiveDuration, between("1ms", "1d")]


class ThresholdSection(Section):
    """Limits of success rates, in percent, and of 95th percentiles.

    What is left out is as in general.
    """

    success_rate_warning: _Percent | None = None
    success_rate_critical: _Percent | None = None
    latency_p95_warning: _Latency | None = None
    latency_p95_critical: _Latency | None = None
    healthy_rate: _Percent | None = None
    degraded_rate: _Percent | None = None

    def over(self, general: Threshold) -> Threshold:
        """Return the limits set here, and those of `general` otherwise."""
        given: dict[str, Any] = {
            "success_warning_percent": self.success_rate_warning,
            "success_critical_percent": self.success_rate_critical,
            "latency_warning_ms": self.latency_p95_warning and _ms(self.latency_p95_warning),
            "latency_critical_ms": self.latency_p95_critical and _ms(self.latency_p95_critical),
            "healthy_percent": self.healthy_rate,
            "degraded_percent": self.degraded_rate,
        }
        return replace(general, **{name: value for name, value in given.items() if value is not None})


class ThresholdsSection(ThresholdSection):
    """Limits in general, of organizations, and of action types."""

    organizations: Annotated[dict[str, ThresholdSection], Field(max_length=1000)] = Field(default_factory=dict)
    types: Annotated[dict[str, ThresholdSection], Field(max_length=1000)] = Field(default_factory=dict)

    def known(self) -> Thresholds:
        """Return the limits for the catalogue."""
        general = self.over(Threshold())
        return Thresholds(
            general,
            {name: section.over(general) for name, section in self.organizations.items()},
            {name: section.over(general) for name, section in self.types.items()},
        )


def _ms(duration: PositiveDuration) -> int:
    return round(duration.total_seconds() * 1000)


def threshold_contradictions(section: ThresholdsSection) -> Iterator[str]:
    """Yield limits that are in the wrong order, and empty names."""
    known = section.known()
    every = {"thresholds": known.general}
    every |= {f"thresholds.organizations.{name}": limits for name, limits in known.organizations.items()}
    every |= {f"thresholds.types.{name}": limits for name, limits in known.types.items()}
    for key, limits in every.items():
        if limits.success_critical_percent > limits.success_warning_percent:
            yield f"{key}.success_rate_critical must not be over success_rate_warning"
        if limits.latency_critical_ms < limits.latency_warning_ms:
            yield f"{key}.latency_p95_critical must not be under latency_p95_warning"
        if limits.degraded_percent > limits.healthy_percent:
            yield f"{key}.degraded_rate must not be over healthy_rate"
    if any(not name or "\x00" in name for name in (*known.organizations, *known.types)):
        yield "thresholds holds the name of no organization or action type"
