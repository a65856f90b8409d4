"""What queries take from the configuration: prices and thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal

from analytics_refreshd.core.costs import Prices
from analytics_refreshd.core.thresholds import Threshold, Thresholds
from analytics_refreshd.postgres.catalogue.definition import PRICES, THRESHOLDS, Query

_HEALTH = ("healthy_percent", "degraded_percent")


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """Prices, of which none is known by default, and the default thresholds."""

    prices: Prices = field(default_factory=Prices)
    thresholds: Thresholds = field(default_factory=Thresholds)

    def values(
        self, query: Query, organizations: Sequence[str] | None, action_type: str | None = None
    ) -> Mapping[str, object]:
        """Return the values of the placeholders that `query` has for them."""
        found: dict[str, object] = {}
        if PRICES in query.relations:
            found |= _prices(self.prices)
        if THRESHOLDS in query.relations:
            found |= _thresholds(self.thresholds, organizations)
        if any(f"%({name})s" in query.body for name in _HEALTH):
            limits = self.thresholds.of(organizations, action_type)
            found |= {name: _exact(getattr(limits, name)) for name in _HEALTH}
        return found


def _prices(prices: Prices) -> Mapping[str, object]:
    """Return a row by action type, and one without a type, the default."""
    rows = [*sorted(prices.by_type.items()), *([(None, prices.default)] if prices.default else [])]
    return {
        "currency": prices.currency,
        "price_types": [name for name, _ in rows],
        "prices_per_execution": [price.per_execution for _, price in rows],
        "prices_per_retry": [price.per_retry for _, price in rows],
        "prices_per_second": [price.per_second for _, price in rows],
    }


def _thresholds(thresholds: Thresholds, organizations: Sequence[str] | None) -> Mapping[str, object]:
    """Return a row by organization, by action type, and one of neither, for all others."""
    rows: list[tuple[str | None, str | None, Threshold]] = [(None, None, thresholds.of(organizations))]
    rows += [(name, None, limits) for name, limits in sorted(thresholds.organizations.items())]
    rows += [(None, name, limits) for name, limits in sorted(thresholds.types.items())]
    limits = {
        f"thresholds_{each.name}": [_exact(getattr(row[2], each.name)) for row in rows]
        for each in fields(Threshold)
        if each.name not in _HEALTH
    }
    names = {"threshold_organizations": [row[0] for row in rows], "threshold_types": [row[1] for row in rows]}
    return {**names, **limits}


def _exact(value: float) -> Decimal:
    return Decimal(str(value))


DEFAULTS = QuerySettings()
"""With which no cost is known, and the default thresholds count."""
