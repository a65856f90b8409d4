"""Reads from EXPLAIN what a statement cost. EXPLAIN (ANALYZE) carries it out as it is.

The figures are the session's own, with those of functions, nested statements and parallel workers, on every version.
"""

import json
from collections.abc import Mapping
from typing import Any

from psycopg.abc import Buffer
from psycopg.adapt import Loader

from analytics_refreshd.core.cost import Cost, known_cost


class PlanLoader(Loader):
    """Loads EXPLAIN's JSON as text. Names in it may be in any encoding, and only numbers are read."""

    def load(self, data: Buffer) -> str:
        """Decode it, whatever it holds."""
        return bytes(data).decode("utf-8", "replace")


def cost_of_plan(text: str, block_bytes: int) -> Cost | None:
    """Return the cost of the statement that was explained.

    `text` is what EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON) says of it. `block_bytes` is the server's block
    size. A figure that is not there is unknown.
    """
    try:
        plan = json.loads(text)[0]["Plan"]
    except (ValueError, LookupError, TypeError):
        return None
    if not isinstance(plan, dict):
        return None
    temporary = _sum(plan, "Temp Written Blocks", "Local Written Blocks")
    return known_cost(
        {
            "wal_bytes": _sum(plan, "WAL Bytes"),
            "blocks_hit": _sum(plan, "Shared Hit Blocks", "Local Hit Blocks"),
            "blocks_read": _sum(plan, "Shared Read Blocks", "Local Read Blocks"),
            "temporary_bytes": None if temporary is None else temporary * block_bytes,
        }
    )


def _sum(plan: Mapping[str, Any], *names: str) -> int | None:
    found = [figure for name in names if isinstance(figure := plan.get(name), int)]
    return sum(found) if len(found) == len(names) else None
