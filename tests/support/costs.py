"""The prices that figures are compared by, as a configuration has them."""

from dataclasses import asdict
from typing import Any

from tests.support.brute_force import PRICES

COSTS: dict[str, Any] = {
    "costs__currency": PRICES.currency,
    "costs__prices": {
        name: {part: str(amount) for part, amount in asdict(price).items()} for name, price in PRICES.by_type.items()
    },
}
