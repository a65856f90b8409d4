"""The same words for the same things in log, alert, status and page."""

import math

from analytics_refreshd.core.model import Blocker


def seconds_in_words(seconds: float | None) -> str:
    """A duration as a person says it: `420 ms`, `4.2 s`, `41 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`.

    None, infinity and what is not a number are `unknown`; a negative duration is none.
    """
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        large, large_name, small, small_name = 60, "min", 1, "s"
    elif whole < 86400:
        large, large_name, small, small_name = 3600, "h", 60, "min"
    else:
        large, large_name, small, small_name = 86400, "d", 3600, "h"
    rest = whole % large // small
    return f"{whole // large} {large_name}" + (f" {rest} {small_name}" if rest else "")


def bytes_in_words(size: int | None) -> str:
    """A size in binary units: `512 B`, `1.5 MiB`; `unknown` for None."""
    if size is None:
        return "unknown"
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1023.95:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def blocked_by(blocker: Blocker, waited_seconds: float | None = None) -> str:
    """Whom a refresh waits for: `waits 41 s on pid 812, nightly-etl, idle in transaction since 02:14 UTC`."""
    waited = f" {seconds_in_words(waited_seconds)}" if waited_seconds is not None else ""
    parts = [f"waits{waited} on pid {blocker.pid}"]
    if blocker.application:
        parts.append(blocker.application)
    if not blocker.visible:
        parts.append("details hidden: grant pg_read_all_stats to this role")
    elif blocker.state:
        since = blocker.transaction_started_at or blocker.query_started_at
        parts.append(blocker.state + (f" since {since:%H:%M} UTC" if since else ""))
    return ", ".join(parts)
