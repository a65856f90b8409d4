"""The section `[costs]`."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from analytics_refreshd.config.values import Section
from analytics_refreshd.core.costs import Price, Prices


def _exact(value: object) -> object:
    """Refuse a number with a point, which TOML and JSON read as a float."""
    if isinstance(value, float | bool):
        raise ValueError('is not exact: write it as text, like "0.0025"')
    return value


def _currency(value: str) -> str:
    if not re.fullmatch("[A-Z]{3}", value):
        raise ValueError('must be the three letters of a currency (ISO 4217), like "EUR"')
    return value


Amount = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, max_digits=18, decimal_places=9)]


class PriceSection(Section):
    """What actions cost; what is left out costs nothing."""

    per_execution: Amount = Decimal(0)
    per_retry: Amount = Decimal(0)
    per_second: Amount = Decimal(0)

    def price(self) -> Price:
        """Return it for the catalogue."""
        return Price(self.per_execution, self.per_retry, self.per_second)


class CostsSection(Section):
    """Prices by action type; `default` is that of every other type."""

    currency: Annotated[str, AfterValidator(_currency)] | None = None
    default: PriceSection | None = None
    prices: Annotated[dict[str, PriceSection], Field(max_length=1000)] = Field(default_factory=dict)

    def known(self) -> Prices:
        """Return the prices for the catalogue."""
        by_type = {name: section.price() for name, section in self.prices.items()}
        return Prices(self.currency, by_type, self.default.price() if self.default else None)


def cost_contradictions(costs: CostsSection) -> Iterator[str]:
    """Yield what does not fit together."""
    if costs.currency is None and (costs.prices or costs.default):
        yield 'costs.currency is missing: name that of the prices, like "EUR"'
    for name in costs.prices:
        if not name or "\x00" in name:
            yield "costs.prices holds the name of no action type"
