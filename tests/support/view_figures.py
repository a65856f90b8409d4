"""The four views computed in plain Python from rows of action_results, to compare with."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Action:
    """One row of action_results, without the columns that no figure depends on."""

    id: str
    action_type: str
    status: str
    executed_at: datetime | None
    trigger_id: str | None = None
    duration_ms: int | None = None
    retry_count: int | None = 0
    error_message: str | None = None


Table = dict[Any, tuple[object, ...]]


def two_decimals(value: Decimal) -> Decimal:
    """Rounded as PostgreSQL rounds a numeric: half away from zero."""
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def percentile(values: Sequence[int], fraction: float) -> Decimal | None:
    """percentile_cont: interpolated between the two nearest, in double precision, read to 15 digits."""
    if not values:
        return None
    ordered = sorted(values)
    place = fraction * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    exact = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    return two_decimals(Decimal(f"{exact:.15g}"))


def _mean(values: Sequence[int]) -> Decimal | None:
    return two_decimals(Decimal(sum(values)) / len(values)) if values else None


def _groups(actions: Iterable[Action], key: Callable[[Action], Hashable]) -> list[tuple[Any, list[Action]]]:
    groups: dict[Hashable, list[Action]] = defaultdict(list)
    for action in actions:
        groups[key(action)].append(action)
    return list(groups.items())


def _durations(group: list[Action]) -> list[int]:
    return [action.duration_ms for action in group if action.duration_ms is not None]


def _retries(group: list[Action]) -> list[int]:
    return [action.retry_count for action in group if action.retry_count is not None]


def _count(group: list[Action], status: str) -> int:
    return sum(action.status == status for action in group)


def _spread(group: list[Action]) -> tuple[object, ...]:
    values = _durations(group)
    percentiles = (percentile(values, fraction) for fraction in (0.50, 0.95, 0.99))
    return (_mean(values), min(values, default=None), max(values, default=None), *percentiles)


def _hour(moment: datetime | None) -> datetime | None:
    return moment and moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def action_metrics_hourly(actions: Iterable[Action]) -> Table:
    """By (hour, action_type, status): the columns after these three."""
    return {
        key: (
            len(group),
            *_spread(group),
            *(_count(group, status) for status in ("success", "failed", "retrying")),
            sum(_retries(group)),
            sum(retries > 0 for retries in _retries(group)),
        )
        for key, group in _groups(actions, lambda a: (_hour(a.executed_at), a.action_type, a.status))
    }


def trigger_performance_summary(actions: Iterable[Action]) -> Table:
    """By trigger_id: the columns after it; hours_active rounded to 6 decimals."""
    table: Table = {}
    with_trigger = (action for action in actions if action.trigger_id is not None)
    for key, group in _groups(with_trigger, lambda a: a.trigger_id):
        times = [action.executed_at for action in group if action.executed_at is not None]
        seconds = Decimal(str((max(times) - min(times)).total_seconds())) if times else None
        table[key] = (
            len(group),
            *(_count(group, status) for status in ("success", "failed", "retrying")),
            two_decimals(Decimal(100) * _count(group, "success") / len(group)),
            *_spread(group),
            sum(_retries(group)),
            _mean(_retries(group)),
            max(_retries(group), default=None),
            max(times, default=None),
            min(times, default=None),
            None if seconds is None else round(seconds / 3600, 6),
        )
    return table


def recent_failures(actions: Iterable[Action], now: datetime) -> set[str]:
    """The ids."""
    since = now - timedelta(hours=24)
    return {a.id for a in actions if a.status == "failed" and a.executed_at is not None and a.executed_at >= since}


def action_type_distribution(actions: Iterable[Action], now: datetime) -> Table:
    """By action_type: the columns after it."""
    since = now - timedelta(days=30)
    recent = [action for action in actions if action.executed_at is not None and action.executed_at >= since]
    return {
        key: (
            len(group),
            _count(group, "success"),
            _count(group, "failed"),
            two_decimals(Decimal(100) * len(group) / len(recent)),
            _mean(_durations(group)),
            sum(_retries(group)),
            max(action.executed_at for action in group if action.executed_at is not None),
        )
        for key, group in _groups(recent, lambda a: a.action_type)
    }
