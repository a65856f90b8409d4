"""Puts costs and the space that is left into the page's words. Pure."""

from collections.abc import Mapping
from typing import Any

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.wording import bytes_in_words, cost_in_words, seconds_in_words


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


def disk_words(disk: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return the fact "space for the database".

    None where it is not asked for.
    """
    if disk is None:
        return None
    growth, left = disk["growth_bytes_per_day"], disk["seconds_left"]
    if left is not None:
        text = "used up" if left <= 0 else f"for about {seconds_in_words(left)}"
    else:
        text = "not known yet" if growth is None else "does not fill"
    used = f"{bytes_in_words(disk['database_bytes'])} of {bytes_in_words(disk['capacity_bytes'])}"
    return {"text": text, "detail": used if growth is None else f"{used}, {bytes_in_words(growth)} more a day"}
