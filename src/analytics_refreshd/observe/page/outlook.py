"""Puts into the page's words when limits are reached. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

_NAMES = {
    "refresh_time": "A refresh takes its interval",
    "success_rate": "The success rate falls to its limit",
    "disk": "The space is used up",
}


def outlook_words(outlooks: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, str]]:
    """Return for each limit name, date, tone and sentence."""
    return [
        {
            "name": _NAMES.get(outlook["quantity"], outlook["quantity"]),
            "when": _when(outlook, now),
            "tone": "warn" if outlook["soon"] else "off" if outlook["state"] == "unknown" else "soft",
            "text": f"{outlook['text'][:1].upper()}{outlook['text'][1:]}.",
        }
        for outlook in outlooks
    ]


def _when(outlook: Mapping[str, Any], now: datetime) -> str:
    at: datetime | None = outlook["reached_at"]
    if at is not None:
        days = round((at - now).total_seconds() / 86_400)
        return f"in about {days} days, on {at:%Y-%m-%d}" if days > 1 else "within two days"
    return {"reached": "reached", "not_expected": "not within a year"}.get(outlook["state"], "unknown")
