"""Puts what refreshes cost the server into the page's words. Pure."""

from collections.abc import Mapping
from typing import Any

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.wording import bytes_in_words, cost_in_words


def cost_words(spending: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the fact "cost of a run"; None before the first run."""
    last, day = spending["last_run"], spending["day"]
    if last is None:
        return None
    wal_bytes = last["cost"]["wal_bytes"]
    unknown = f", {day['unknown']:,} unknown" if day["unknown"] else ""
    return {
        "text": "unknown" if wal_bytes is None else f"{bytes_in_words(wal_bytes)} of WAL",
        "detail": f"last run: {cost_in_words(Cost(**last['cost']))}; {day['runs']:,} runs in 24 h{unknown}: "
        f"{cost_in_words(Cost(**day['cost']))}",
    }
