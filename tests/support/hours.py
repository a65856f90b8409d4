"""Hour cells like those of the demo's actions, drawn by hour instead of by action, and what may happen to them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import NormalDist

from analytics_refreshd.core.hour_series import HourCell
from analytics_refreshd.demo.actions import intensity

Cells = dict[tuple[datetime, str], HourCell]
NOW = datetime(2026, 3, 31, tzinfo=UTC)
"""A Tuesday."""
SHARES = {"telegram": 0.45, "rest": 0.37, "mcp": 0.18}
MEDIAN_SECONDS = {"telegram": 0.095, "rest": 0.14, "mcp": 0.21}
SPREAD = {"telegram": 0.5, "rest": 0.65, "mcp": 0.75}
_FAILS = 0.02


def poisson(random: Random, mean: float) -> int:
    """How many events of a unit rate come within `mean`."""
    count, at = 0, random.expovariate(1.0)
    while at < mean:
        count, at = count + 1, at + random.expovariate(1.0)
    return count


def binomial(random: Random, n: int, p: float) -> int:
    """How many of `n` come true."""
    return sum(random.random() < p for _ in range(n))


def traffic(seed: int, days: int, per_hour: float = 300.0) -> Cells:
    """The cells of the `days` before NOW, with the demo's day, weekend and uneven hours; no bursts of failures."""
    random = Random(f"hours {seed}")
    cells: Cells = {}
    for number in range(days * 24, 0, -1):
        hour = NOW - timedelta(hours=number)
        level = per_hour * intensity(hour) * random.gammavariate(12, 1 / 12)
        for action_type, share in SHARES.items():
            executions = poisson(random, level * share)
            if executions:
                cells[hour, action_type] = draw(random, hour, action_type, executions, _FAILS)
    return cells


def draw(random: Random, hour: datetime, action_type: str, executions: int, fails: float) -> HourCell:
    """One cell of so many executions, of which the share `fails` fails."""
    failures = binomial(random, executions, fails)
    successes = executions - failures
    p95 = None
    if successes:
        # the distribution of the 95th percentile of so many draws
        place = random.betavariate(0.95 * successes + 0.05, 0.05 * successes + 0.95)
        deviation = NormalDist().inv_cdf(min(max(place, 1e-9), 1 - 1e-9))
        p95 = MEDIAN_SECONDS[action_type] * math.exp(SPREAD[action_type] * deviation)
    return HourCell(hour, action_type, executions, failures, successes, p95)


Change = Callable[[Random, HourCell], HourCell]


def fails_more(random: Random, cell: HourCell) -> HourCell:
    """A fifth of it fails."""
    return draw(random, cell.hour, cell.action_type, cell.executions, 0.2)


def halves(random: Random, cell: HourCell) -> HourCell:
    """Half of it comes."""
    return draw(random, cell.hour, cell.action_type, max(1, binomial(random, cell.executions, 0.5)), _FAILS)


def slows(random: Random, cell: HourCell) -> HourCell:
    """It takes twice as long."""
    return replace(cell, p95_seconds=2 * cell.p95_seconds if cell.p95_seconds else None)


def changed(
    cells: Mapping[tuple[datetime, str], HourCell], seed: int, change: Change, action_type: str, since: datetime
) -> Cells:
    """The cells with `change` done to all of a type from `since` on."""
    random = Random(f"change {seed}")
    return {
        key: change(random, cell) if key[1] == action_type and key[0] >= since else cell for key, cell in cells.items()
    }
