"""Prices of actions, as the configuration has them: exact decimals, never floats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """What actions of a type cost: each execution, each retry, each second of measured duration."""

    per_execution: Decimal = Decimal(0)
    per_retry: Decimal = Decimal(0)
    per_second: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices by action type, and `default` for every other type.

    Without a default the costs of other types are not known. `currency` is None where there are no prices.
    """

    currency: str | None = None
    by_type: Mapping[str, Price] = field(default_factory=dict)
    default: Price | None = None
