"""What a refresh costs the server. A figure that the server does not tell is None: unknown, never nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run, or its part for one view, cost the server.

    `wal_bytes` went into the WAL. `blocks_hit` were found in PostgreSQL's buffers, `blocks_read` had to be read into
    them. `temporary_bytes` went into temporary files and tables.
    """

    wal_bytes: int | None = None
    blocks_hit: int | None = None
    blocks_read: int | None = None
    temporary_bytes: int | None = None

    def known(self) -> dict[str, int]:
        """Return the figures that are known, by name."""
        return {name: figure for name in FIGURES if (figure := getattr(self, name)) is not None}


FIGURES = tuple(field.name for field in fields(Cost))
"""The names of a cost's figures."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What several runs cost together. `runs` count, and `unknown` of them do not tell; None where none tells."""

    runs: int = 0
    unknown: int = 0
    cost: Cost | None = None


def known_cost(figures: Mapping[str, int | None]) -> Cost | None:
    """Make a cost of figures by name. None where none is known; a negative one is not."""
    found = {name: figures.get(name) for name in FIGURES}
    kept = {name: figure for name, figure in found.items() if figure is not None and figure >= 0}
    return Cost(**kept) if kept else None


def total(parts: Iterable[Cost | None]) -> Cost | None:
    """Add up the parts of one run. A figure that one part lacks is unknown in the sum."""
    costs = list(parts)
    sums: dict[str, int | None] = {}
    for name in FIGURES:
        figures = [cost.known().get(name) if cost is not None else None for cost in costs]
        known = [figure for figure in figures if figure is not None]
        sums[name] = sum(known) if known and len(known) == len(figures) else None
    return known_cost(sums)


def spent(costs: Iterable[Cost | None]) -> Spent:
    """Add up what runs cost, as far as they tell."""
    all_costs = list(costs)
    told = [cost for cost in all_costs if cost is not None]
    return Spent(len(all_costs), len(all_costs) - len(told), _added(told))


def _added(costs: list[Cost]) -> Cost | None:
    sums: dict[str, int | None] = {}
    for cost in costs:
        for name, figure in cost.known().items():
            sums[name] = (sums.get(name) or 0) + figure
    return known_cost(sums)
