"""Write durations, sizes, times and blockers the same way everywhere."""

import math
from datetime import UTC, datetime
from decimal import Decimal

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.model import Blocker


def rfc3339(at: datetime, timespec: str = "milliseconds") -> str:
    """Write a time in UTC, like `2026-03-01T02:14:05.123Z`.

    A naive time is taken as UTC. `timespec` is that of `datetime.isoformat`.
    """
    aware = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return aware.isoformat(timespec=timespec).replace("+00:00", "Z")


def to_the_second(at: datetime) -> str:
    """Write an aware time for people, like `2026-03-01 02:14:05Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def seconds_in_words(seconds: float | None) -> str:
    """Write a duration as a person says it.

    Examples: `420 ms`, `4.2 s`, `41 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`. None, infinity and NaN are `unknown`. A
    negative duration is written as zero.
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
    """Write a size in binary units, like `512 B` or `1.5 MiB`.

    None is `unknown`.
    """
    if size is None:
        return "unknown"
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1023.95:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def cost_in_words(cost: Cost | None) -> str:
    """Write what a refresh cost.

    Example: `1.5 MiB of WAL, 12 blocks read, 340 hit, 0 B temporary`. A figure that is not known is left out; None is
    `unknown`.
    """
    if cost is None:
        return "unknown"
    parts = [
        f"{bytes_in_words(cost.wal_bytes)} of WAL" if cost.wal_bytes is not None else "",
        f"{cost.blocks_read:,} blocks read" if cost.blocks_read is not None else "",
        f"{cost.blocks_hit:,} hit" if cost.blocks_hit is not None else "",
        f"{bytes_in_words(cost.temporary_bytes)} temporary" if cost.temporary_bytes is not None else "",
    ]
    return ", ".join(filter(None, parts)) or "unknown"


_IN_SECONDS = {"ms": 0.001, "seconds": 1.0, "days": 86_400.0}


def figure_in_words(unit: str, value: float | Decimal) -> str:
    """Write a figure of the catalogue with its unit.

    Examples: `1,234`, `2.6 s`, `93.4 %`, `1.5 MiB`.
    """
    if unit in _IN_SECONDS:
        return seconds_in_words(float(value) * _IN_SECONDS[unit])
    if unit == "bytes":
        return bytes_in_words(int(value))
    if unit == "money":
        return f"{value:,f}"
    return f"{value:,} %" if unit == "percent" else f"{value:,}"


def blocked_by(blocker: Blocker, waited_seconds: float | None = None) -> str:
    """Describe the session that a refresh waits for.

    Example: `waits 41 s on pid 812, nightly-etl, idle in transaction since 02:14 UTC`.
    """
    waited = f" {seconds_in_words(waited_seconds)}" if waited_seconds is not None else ""
    return f"waits{waited} on {session_in_words(blocker)}"


def session_in_words(blocker: Blocker) -> str:
    """Describe the session that holds a lock.

    Example: `pid 812, nightly-etl, idle in transaction since 02:14 UTC`.
    """
    parts = [f"pid {blocker.pid}"]
    if blocker.application:
        parts.append(blocker.application)
    if not blocker.visible:
        parts.append("details hidden: grant pg_read_all_stats to this role")
    elif blocker.state:
        since = blocker.transaction_started_at or blocker.query_started_at
        parts.append(blocker.state + (f" since {since:%H:%M} UTC" if since else ""))
    return ", ".join(parts)
