"""Puts costs and the space that is left into the page's words. Pure."""

from collections.abc import Mapping
from typing import Any

from analytics_refreshd.core.wording import bytes_in_words, seconds_in_words


def cost_words(spending: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the fact "cost of a run"; None before the first run."""
    last, day = spending["last_run"], spending["day"]
    if last is None:
        return None
    unknown = f", {day['unknown']:,} of them unknown" if day["unknown"] else ""
    plural = "" if day["runs"] == 1 else "s"
    return {
        "text": _wal(last["cost"]),
        "detail": f"{_wal(day['cost'])} in {day['runs']:,} run{plural} of 24 h{unknown}; blocks and more: status",
    }


def _wal(cost: Mapping[str, Any]) -> str:
    return "unknown" if cost["wal_bytes"] is None else f"{bytes_in_words(cost['wal_bytes'])} of WAL"


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
