"""Puts what waits for a warehouse into the page's words. Pure."""

from collections.abc import Mapping
from typing import Any

from analytics_refreshd.core.wording import seconds_in_words


def warehouse_words(waiting: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return the fact "warehouse".

    None without one, or while it is not known what waits.
    """
    if waiting is None:
        return None
    lag = seconds_in_words(waiting["lag_seconds"])
    if waiting["exporting"]:
        return {"text": f"exporting for {lag}", "detail": f"epoch {waiting['epoch']}: {waiting['epoch_reason']}"}
    has = f"it has batch {waiting['acknowledged_batch']:,} of epoch {waiting['epoch']}"
    if not waiting["batches"]:
        return {"text": "up to date", "detail": has}
    plural = "" if waiting["batches"] == 1 else "es"
    return {
        "text": f"{lag} behind",
        "detail": f"{waiting['batches']:,} batch{plural}, {waiting['rows']:,} rows wait; {has}",
    }
