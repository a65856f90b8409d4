"""The catalogue's answers computed from the rows of action_results in plain Python, independent of any SQL."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from itertools import combinations, pairwise
from statistics import median
from typing import Any

from analytics_refreshd.core.costs import Price, Prices
from analytics_refreshd.core.hour_series import HourCell, series_of
from analytics_refreshd.core.unusual import MOST_TYPES
from analytics_refreshd.core.unusual import read as read_series
from analytics_refreshd.postgres.catalogue.settings import QuerySettings

Row = tuple[Any, ...]
HOUR = timedelta(hours=1)
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Action:
    """A row of action_results."""

    id: str
    trigger_id: str | None
    action_type: str
    status: str
    executed_at: datetime | None
    duration_ms: int | None
    error_message: str | None
    retry_count: int | None
    response_data: object = None
    job_id: str = "job"
    event_id: str | None = None


@dataclass(frozen=True)
class Trigger:
    """A row of triggers."""

    id: str
    organization_id: str | None
    name: str | None
    enabled: bool
    created_at: datetime


@dataclass(frozen=True)
class Organization:
    """A row of organizations."""

    id: str
    name: str
    plan: str


@dataclass(frozen=True)
class Data:
    """A whole application database."""

    actions: tuple[Action, ...]
    triggers: Mapping[str, Trigger]
    organizations: Mapping[str, Organization]

    def only(self, organizations: Iterable[str]) -> "Data":
        """The database of a service that never had another tenant."""
        chosen = set(organizations)
        triggers = {key: row for key, row in self.triggers.items() if row.organization_id in chosen}
        return Data(
            tuple(action for action in self.actions if action.trigger_id in triggers),
            triggers,
            {key: row for key, row in self.organizations.items() if key in chosen},
        )

    def between(self, since: datetime, until: datetime) -> list[Action]:
        """Actions of a half-open stretch; those without a time are in none."""
        return [row for row in self.actions if row.executed_at and since <= row.executed_at < until]


@dataclass(frozen=True)
class Estimate:
    """What an approximated figure may be: the weighted mean it is said to be, and within the bound that is stated.

    That is between `low` and `high`, and within a cent of the exact one if `tight`.
    """

    exact: Decimal | None
    low: Decimal | None
    high: Decimal | None
    tight: bool
    weighted: Decimal | None

    def __eq__(self, other: object) -> bool:
        if self.exact is None or not isinstance(other, Decimal):
            return self.exact is None and other is None
        assert self.low is not None
        assert self.high is not None
        assert self.weighted is not None
        if abs(other - self.weighted) > CENT:
            return False
        if self.tight and abs(other - self.exact) > CENT:
            return False
        return self.low - CENT <= other <= self.high + CENT

    __hash__ = None  # type: ignore[assignment]


def rounded(value: Fraction | None) -> Decimal | None:
    """Two decimals, halves away from zero, as numeric does."""
    if value is None:
        return None
    cents = abs(value) * 100
    whole = Decimal(math.floor(cents + Fraction(1, 2))) / 100
    return -whole if value < 0 else whole


def percent(part: int, whole: int) -> Decimal | None:
    """100 x part / whole, None without a whole."""
    return rounded(Fraction(100 * part, whole)) if whole else None


def mean(values: list[int]) -> Decimal | None:
    """The average, two decimals."""
    return rounded(Fraction(sum(values), len(values))) if values else None


def percentile(values: list[int], share: float) -> Decimal | None:
    """percentile_cont: linear between the two ranks, in double precision, then two decimals."""
    if not values:
        return None
    ordered = sorted(values)
    rank = share * (len(ordered) - 1)
    low, high = math.floor(rank), math.ceil(rank)
    found = float(ordered[low])
    if low != high:
        found = ordered[low] + (rank - low) * (float(ordered[high]) - ordered[low])
    return Decimal(f"{found:.15g}").quantize(CENT, ROUND_HALF_UP)


def durations(rows: Iterable[Action]) -> list[int]:
    """The durations that are there."""
    return [row.duration_ms for row in rows if row.duration_ms is not None]


def grouped(rows: Iterable[Action], key: Callable[[Action], object]) -> dict[object, list[Action]]:
    """Rows by key."""
    groups: dict[object, list[Action]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def counts(rows: list[Action]) -> Row:
    """executions, successes, failures, retrying, success_rate_percent."""
    by = {status: sum(row.status == status for row in rows) for status in ("success", "failed", "retrying")}
    return (len(rows), by["success"], by["failed"], by["retrying"], percent(by["success"], len(rows)))


def retries(rows: Iterable[Action]) -> int:
    """Their sum."""
    return sum(row.retry_count or 0 for row in rows)


def hour_of(at: datetime) -> datetime:
    """The start of its hour."""
    return at.replace(minute=0, second=0, microsecond=0)


def day_of(at: datetime) -> datetime:
    """The start of its day."""
    return hour_of(at).replace(hour=0)


def week_of(at: datetime) -> datetime:
    """The Monday of its week."""
    return day_of(at) - timedelta(days=at.weekday())


def weighted(cells: list[tuple[Decimal | None, int]]) -> Decimal | None:
    """The mean of the cells that have a figure, weighted by their executions."""
    known = [(Fraction(figure), count) for figure, count in cells if figure is not None]
    total = sum(count for _, count in known)
    return rounded(sum((figure * count for figure, count in known), Fraction(0)) / total) if known else None


def average(rows: list[Action], key: Callable[[Action], object]) -> Estimate:
    """An average weighted by executions: bounded by the averages of the cells it is made from."""
    cells = [(mean(durations(group)), len(group)) for group in grouped(rows, key).values()]
    known = [figure for figure, _ in cells if figure is not None]
    tight = all(row.duration_ms is not None for row in rows)
    low, high = min(known, default=None), max(known, default=None)
    return Estimate(mean(durations(rows)), low, high, tight, weighted(cells))


def approximated(rows: list[Action], share: float) -> Estimate:
    """A percentile weighted by executions: between the shortest and the longest duration."""
    values = durations(rows)
    low, high = (None if not values else Decimal(each(values)) for each in (min, max))
    cells = [(percentile(durations(group), share), len(group)) for group in grouped(rows, cell).values()]
    return Estimate(percentile(values, share), low, high, False, weighted(cells))


def cell(row: Action) -> object:
    """The hourly view's key."""
    assert row.executed_at is not None
    return hour_of(row.executed_at), row.action_type, row.status


def by_trigger(data: Data) -> dict[str, list[Action]]:
    """Actions of each trigger over all history."""
    return {str(key): rows for key, rows in grouped(data.actions, lambda r: r.trigger_id).items() if key}


def last(rows: Iterable[Action]) -> datetime | None:
    """The last execution."""
    return max((row.executed_at for row in rows if row.executed_at), default=None)


def first(rows: Iterable[Action]) -> datetime | None:
    """The first execution."""
    return min((row.executed_at for row in rows if row.executed_at), default=None)


def who(data: Data, trigger_id: str | None) -> Row:
    """trigger_id, its name and organization."""
    trigger = data.triggers.get(trigger_id or "")
    return (trigger_id, trigger and trigger.name, trigger and trigger.organization_id)


def enabled(data: Data, trigger_id: str) -> bool | None:
    """Whether it is; None where the trigger is gone."""
    return data.triggers[trigger_id].enabled if trigger_id in data.triggers else None


P = Mapping[str, object]
"""The parameters; in place of a window's there may be `since`, `until` and `zone`, whole steps of it."""


def _stretch(now: datetime, p: P, hours: int) -> tuple[datetime, datetime]:
    """What was asked for, or `hours` that end with the current one."""
    since, until = p.get("since"), p.get("until")
    if isinstance(since, datetime) and isinstance(until, datetime):
        return since, until
    end = hour_of(now) + HOUR
    return end - hours * HOUR, end


def _zone(p: P) -> tzinfo:
    zone = p.get("zone", UTC)
    assert isinstance(zone, tzinfo)
    return zone


def _hours(stretch: tuple[datetime, datetime]) -> list[datetime]:
    """Where each hour of a stretch begins."""
    since, until = stretch
    return [since + number * HOUR for number in range((until - since) // HOUR)]


def _by_date(stretch: tuple[datetime, datetime], zone: tzinfo, days: int = 1) -> list[tuple[datetime, datetime]]:
    """The days of a stretch, or its weeks from Monday, where the calendar of `zone` turns, hour by hour."""
    starts: list[datetime] = []
    seen: set[tuple[int, int, int] | date] = set()
    for hour in _hours(stretch):
        local = hour.astimezone(zone)
        name = local.date() if days == 1 else (*local.isocalendar()[:2], 0)
        if name not in seen:
            seen.add(name)
            starts.append(hour)
    return list(zip(starts, [*starts[1:], stretch[1]], strict=True))


def _days(now: datetime, p: P) -> tuple[datetime, datetime]:
    """What was asked for, or `days` of UTC that end with today."""
    if "since" in p:
        return _stretch(now, p, 0)
    until = day_of(now) + 24 * HOUR
    return until - 24 * _int(p, "days") * HOUR, until


def _int(p: P, name: str) -> int:
    value = p[name]
    assert isinstance(value, int)
    return value


def _number(p: P, name: str) -> Decimal:
    return Decimal(str(p[name]))


def health(rate: Decimal) -> str:
    """The word for a success rate, by the default thresholds."""
    return "CRITICAL" if rate < 50 else "WARNING" if rate < 80 else "OK"


def sla(p95: Decimal) -> str:
    """The word for a 95th percentile."""
    return "CRITICAL" if p95 > 10_000 else "WARNING" if p95 > 5000 else "OK"


def success_rate(data: Data, now: datetime, p: P) -> list[Row]:
    rows = data.between(*_stretch(now, p, 24 * _int(p, "days")))
    groups = grouped(rows, lambda row: row.action_type)
    return [
        (
            kind,
            *counts(group),
            average(group, cell),
            percent(counts(group)[2], len(group)),
            retries(group),
            health(counts(group)[4]),
        )
        for kind, group in sorted(groups.items(), key=lambda item: str(item[0]))
    ]


def hourly_actions(data: Data, now: datetime, p: P) -> list[Row]:
    hours = _hours(_stretch(now, p, _int(p, "hours")))
    each = [(hour, data.between(hour, hour + HOUR)) for hour in hours]
    return [(hour, *counts(rows), average(rows, cell), approximated(rows, 0.95)) for hour, rows in each]


def daily_trend(data: Data, now: datetime, p: P) -> list[Row]:
    found = [(since, data.between(since, until)) for since, until in _by_date(_days(now, p), _zone(p))]
    return [(day, *counts(rows), average(rows, cell)) for day, rows in found]


def slowest_triggers(data: Data, now: datetime, p: P) -> list[Row]:
    rows: list[Row] = []
    for key, found in by_trigger(data).items():
        p95 = percentile(durations(found), 0.95)
        if len(found) >= _int(p, "min-executions") and p95 is not None:
            values = durations(found)
            figures = (percentile(values, 0.5), p95, percentile(values, 0.99), mean(values), max(values))
            rows.append((*who(data, key), len(found), *figures, last(found), counts(found)[4], retries(found)))
    by = {"p95_duration_ms": 5, "avg_duration_ms": 7, "max_duration_ms": 8}[str(p["metric"])]
    return sorted(rows, key=lambda row: (-row[by], row[0]))[: _int(p, "limit")]


def latency(data: Data, now: datetime, p: P) -> list[Row]:
    groups = grouped(data.between(*_stretch(now, p, _int(p, "hours"))), lambda row: row.action_type)
    rows: list[Row] = []
    for kind in sorted(groups, key=str):
        values = durations(groups[kind])
        shares = tuple(percentile(values, share) for share in (0.5, 0.95, 0.99))
        low, high = min(values, default=None), max(values, default=None)
        word = None if shares[1] is None else sla(shares[1])
        rows.append((kind, len(groups[kind]), len(values), low, *shares, high, mean(values), word))
    return rows


def sla_violations(data: Data, now: datetime, p: P) -> list[Row]:
    rows: list[Row] = []
    for key, found in by_trigger(data).items():
        p95 = percentile(durations(found), 0.95)
        if p95 is not None and p95 > _int(p, "above-ms"):
            severity = "critical" if p95 > _int(p, "critical-ms") else "warning"
            over = p95 - _int(p, "above-ms")
            more = (enabled(data, key), counts(found)[4], sla(p95))
            rows.append((*who(data, key), severity, len(found), p95, over, last(found), *more))
    return sorted(rows, key=lambda row: (-row[5], row[0]))[: _int(p, "limit")]


def _failures(data: Data, now: datetime, p: P) -> list[Action]:
    since = p.get("since", now - _int(p, "hours") * HOUR)
    until = p.get("until", now)
    assert isinstance(since, datetime)
    assert isinstance(until, datetime)
    rows = data.between(since, until)
    return [row for row in rows if row.status == "failed"]


def failing_triggers(data: Data, now: datetime, p: P) -> list[Row]:
    failures = _failures(data, now, p)
    rows: list[Row] = []
    for key, found in grouped(failures, lambda row: row.trigger_id).items():
        messages = {row.error_message for row in found} - {None, ""}
        trigger = who(data, str(key) if key else None)
        share = percent(len(found), len(failures))
        tries = [row.retry_count or 0 for row in found]
        figures = (len(found), share, len(messages), first(found), last(found), mean(tries), max(tries))
        rows.append((*trigger, *figures))
    return sorted(rows, key=lambda r: (-r[3], r[0] is None, r[0] or ""))[: _int(p, "limit")]


def top_errors(data: Data, now: datetime, p: P) -> list[Row]:
    failures = _failures(data, now, p)
    rows: list[Row] = []
    for message, found in grouped(failures, lambda row: row.error_message or None).items():
        triggers = {row.trigger_id for row in found} - {None}
        share = percent(len(found), len(failures))
        tries = mean([row.retry_count or 0 for row in found])
        kinds = sorted({row.action_type for row in found})
        rows.append((message, len(found), share, len(triggers), first(found), last(found), tries, kinds))
    return sorted(rows, key=lambda r: (-r[1], r[0] is None, r[0] or ""))[: _int(p, "limit")]


def failures_by_type(data: Data, now: datetime, p: P) -> list[Row]:
    failures = _failures(data, now, p)
    rows: list[Row] = []
    for kind, found in grouped(failures, lambda row: row.action_type).items():
        triggers = {row.trigger_id for row in found} - {None}
        share = percent(len(found), len(failures))
        rows.append((kind, len(found), share, len(triggers), mean([r.retry_count or 0 for r in found]), last(found)))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def recent_failures(data: Data, now: datetime, p: P) -> list[Row]:
    found = sorted(_failures(data, now, p), key=lambda row: row.id)
    found.sort(key=lambda row: row.executed_at, reverse=True)  # type: ignore[arg-type, return-value]
    return [
        (
            row.executed_at,
            row.action_type,
            row.error_message,
            *who(data, row.trigger_id),
            row.retry_count,
            row.duration_ms,
            row.id,
            row.job_id,
            row.event_id,
            row.response_data,
        )
        for row in found[: _int(p, "limit")]
    ]


def unhealthy_triggers(data: Data, now: datetime, p: P) -> list[Row]:
    rows: list[Row] = []
    for key, found in by_trigger(data).items():
        executions, successes, failures, retrying, rate = counts(found)
        assert isinstance(rate, Decimal)
        if rate < _number(p, "below-percent") and len(found) >= _int(p, "min-executions"):
            severity = "critical" if rate < _number(p, "critical-percent") else "warning"
            figures = (severity, rate, executions, successes, failures, retrying)
            rows.append((*who(data, key), *figures, last(found), enabled(data, key), retries(found), health(rate)))
    return sorted(rows, key=lambda r: (r[4], -r[5], r[0]))[: _int(p, "limit")]


def trigger_health(data: Data, now: datetime, p: P) -> list[Row]:
    rates = [counts(found)[4] for found in by_trigger(data).values()]
    critical, fair = (sum(rate < least for rate in rates) for least in (50, 80))
    return [(critical, fair - critical, len(rates) - fair)]


def trigger_stats(data: Data, now: datetime, p: P) -> list[Row]:
    key = str(p["trigger-id"])
    found = by_trigger(data).get(key, [])
    if not found and key not in data.triggers:
        return []
    executions, successes, failures, retrying, rate = counts(found)
    values = durations(found)
    shares = tuple(percentile(values, share) for share in (0.5, 0.95, 0.99))
    known = [row.retry_count for row in found if row.retry_count is not None]
    latest, earliest = last(found), first(found)
    hours = Fraction((latest - earliest) // timedelta(microseconds=1), 3_600_000_000) if latest and earliest else None
    return [
        (
            *who(data, key),
            enabled(data, key),
            *(executions, successes, failures, retrying, rate),
            *(mean(values), min(values, default=None), max(values, default=None), *shares),
            *(sum(known), mean(known), max(known, default=None)),
            *(latest, earliest, rounded(hours)),
        )
    ]


def most_active(data: Data, now: datetime, p: P) -> list[Row]:
    found = data.between(*_stretch(now, p, 24 * _int(p, "days")))
    groups = {key: rows for key, rows in grouped(found, lambda row: row.trigger_id).items() if key}
    since, until = _stretch(now, p, 24 * _int(p, "days"))
    hours = (until - since) // HOUR
    rows: list[Row] = []
    for key, group in groups.items():
        more = (mean(durations(group)), retries(group), rounded(Fraction(len(group), hours)))
        rows.append((*who(data, str(key)), *counts(group), last(group), enabled(data, str(key)), *more))
    return sorted(rows, key=lambda row: (-row[3], row[0]))[: _int(p, "limit")]


def idle_triggers(data: Data, now: datetime, p: P) -> list[Row]:
    history = by_trigger(data)
    found: list[tuple[datetime, str, Row]] = []
    for key, trigger in data.triggers.items():
        rows = history.get(key, [])
        latest = last(rows)
        since = latest or trigger.created_at
        if since < now - timedelta(days=_int(p, "days")) and (trigger.enabled or p["include-disabled"]):
            microseconds = (now - since) // timedelta(microseconds=1)
            idle = rounded(Fraction(microseconds, 86_400_000_000))
            figures = (trigger.enabled, len(rows), latest, idle, trigger.created_at)
            found.append((since, key, (*who(data, key), *figures)))
    return [row for _, _, row in sorted(found, key=lambda item: item[:2])][: _int(p, "limit")]


def retrying_triggers(data: Data, now: datetime, p: P) -> list[Row]:
    rows: list[Row] = []
    for key, found in by_trigger(data).items():
        known = [row.retry_count for row in found if row.retry_count is not None]
        rate = mean(known)
        if rate is not None and rate > _number(p, "above") and len(found) >= _int(p, "min-executions"):
            share = counts(found)[4]
            ratio = rounded(Fraction(sum(known), len(found)))
            figures = (len(found), rate, max(known), sum(known), share, last(found), enabled(data, key), ratio)
            rows.append((*who(data, key), *figures))
    return sorted(rows, key=lambda r: (-r[4], -r[6], r[0]))[: _int(p, "limit")]


def throughput(data: Data, now: datetime, p: P) -> list[Row]:
    rows: list[Row] = []
    for hour in _hours(_stretch(now, p, _int(p, "hours"))):
        found = data.between(hour, hour + HOUR)
        over = hour + HOUR <= now
        rate = rounded(Fraction(len(found), 60)) if over else None
        retried = sum((row.retry_count or 0) > 0 for row in found)
        _, successes, failures, _, share = counts(found)
        figures = (successes, failures, share, average(found, cell), approximated(found, 0.95))
        second = round(Decimal(len(found)) / 3600, 4) if over else None
        rows.append((hour, len(found), rate, retries(found), retried, over, *figures, second))
    return rows


def distribution(data: Data, now: datetime, p: P) -> list[Row]:
    since, until = _stretch(now, p, 0) if "since" in p else (now - 24 * _int(p, "days") * HOUR, now)
    if p["days"] == 30 and "since" not in p:
        # the view's, which also has what is dated after it was made
        until = datetime.max.replace(tzinfo=UTC)
    found = data.between(since, until)
    rows: list[Row] = []
    for kind, group in grouped(found, lambda row: row.action_type).items():
        executions, successes, failures, _, rate = counts(group)
        share = percent(len(group), len(found))
        average_ms = mean(durations(group))
        figures = (executions, share, successes, failures, rate, average_ms, retries(group), last(group))
        rows.append((kind, *figures))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def peak_hours(data: Data, now: datetime, p: P) -> list[Row]:
    since, until = _stretch(now, p, 24 * _int(p, "days"))
    found = data.between(since, until)
    groups = grouped(found, lambda row: row.executed_at and row.executed_at.astimezone(_zone(p)).hour)
    rows: list[Row] = []
    for hour in range(24):
        group = groups.get(hour, [])
        per_day = rounded(Fraction(len(group)) / (Fraction((until - since) // HOUR) / 24))
        each = grouped(group, lambda row: row.executed_at and hour_of(row.executed_at))
        begins = [at for at in _hours((since, until)) if at.astimezone(_zone(p)).hour == hour]
        sizes = [len(each.get(at, [])) for at in begins]
        more = (mean(sizes), max(sizes, default=None), min(sizes, default=None))
        share = percent(len(group), len(found))
        rows.append((hour, len(group), per_day, share, counts(group)[4], len(begins), *more))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def heat_map(data: Data, now: datetime, p: P) -> list[Row]:
    stretch = _stretch(now, p, 24 * _int(p, "days"))
    cells: dict[tuple[int, int], tuple[int, list[Action]]] = {}
    for hour in _hours(stretch):
        local = hour.astimezone(_zone(p))
        number, rows = cells.get((local.isoweekday(), local.hour), (0, []))
        cells[local.isoweekday(), local.hour] = (number + 1, rows + data.between(hour, hour + HOUR))
    found: list[Row] = []
    for weekday in range(1, 8):
        for hour_of_day in range(24):
            number, rows = cells.get((weekday, hour_of_day), (0, []))
            failures = counts(rows)[2]
            found.append((weekday, hour_of_day, number, len(rows), failures, percent(failures, len(rows))))
    return found


def correlations(data: Data, now: datetime, p: P) -> list[Row]:
    hours: list[dict[str, Fraction | None]] = []
    for hour in _hours(_stretch(now, p, 24 * _int(p, "days"))):
        rows = data.between(hour, hour + HOUR)
        cells = [(percentile(durations(group), 0.95), len(group)) for group in grouped(rows, cell).values()]
        known = [(Fraction(figure), number) for figure, number in cells if figure is not None]
        total = sum(number for _, number in known)
        figures = {
            "total_executions": Fraction(len(rows)),
            "failure_rate": Fraction(counts(rows)[2], len(rows)) if rows else None,
            "p95_duration_ms": sum((one * number for one, number in known), Fraction(0)) / total if total else None,
            "total_retries": Fraction(retries(rows)),
        }
        if hour + HOUR <= now:
            hours.append(figures)
    names = ["total_executions", "failure_rate", "p95_duration_ms", "total_retries"]
    found: list[Row] = []
    for name, other in combinations(names, 2):
        pairs = [(x, y) for x, y in ((one[name], one[other]) for one in hours) if x is not None and y is not None]
        found.append((name, other, len(pairs), _pearson(pairs)))
    return found


def _pearson(pairs: list[tuple[Fraction, Fraction]]) -> Decimal | None:
    """The correlation to four digits, from exact sums; None where one of the two never differs."""
    if not pairs:
        return None
    mean_x, mean_y = (sum(each, Fraction(0)) / len(pairs) for each in zip(*pairs, strict=True))
    above = sum(((x - mean_x) * (y - mean_y) for x, y in pairs), Fraction(0))
    below = sum(((x - mean_x) ** 2 for x, _ in pairs), Fraction(0))
    below *= sum(((y - mean_y) ** 2 for _, y in pairs), Fraction(0))
    return round(Decimal(float(above) / math.sqrt(below)), 4) if below else None


@dataclass(frozen=True)
class Near:
    """A figure in double precision that the answer rounds."""

    value: float
    within: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decimal | int) and abs(float(other) - self.value) <= self.within + 1e-9 * self.value

    __hash__ = None  # type: ignore[assignment]


def trigger_days(data: Data, now: datetime, p: P) -> list[Row]:
    days = [(since, data.between(since, until)) for since, until in _by_date(_days(now, p), _zone(p))]
    groups = [
        (day, key, found) for day, rows in days for key, found in grouped(rows, lambda row: row.trigger_id).items()
    ]
    volume: dict[str, int] = defaultdict(int)
    for _, key, found in groups:
        if key is not None:
            volume[str(key)] += len(found)
    busiest = sorted(volume, key=lambda key: (-volume[key], key))[:50]
    rows = [
        (day, *who(data, str(key)), len(found), counts(found)[2], percent(counts(found)[2], len(found)))
        for day, key, found in groups
        if key in busiest
    ]
    return sorted(rows, key=lambda row: (-row[0].timestamp(), -row[4], row[1]))[: _int(p, "limit")]


def _hour(row: Action) -> datetime:
    assert row.executed_at is not None
    return hour_of(row.executed_at)


def anomalies(data: Data, now: datetime, p: P) -> list[Row]:
    earlier = 675 * HOUR
    stretch = _stretch(now, p, _int(p, "hours"))
    if "since" in p:
        stretch = stretch[0] + earlier, stretch[1]
    groups: dict[tuple[datetime, str], list[Action]] = defaultdict(list)
    for row in data.between(stretch[0] - earlier, stretch[1]):
        groups[_hour(row), row.action_type].append(row)
    cells = []
    for (hour, action_type), group in groups.items():
        successes = [row for row in group if row.status == "success"]
        p95 = percentile(durations(successes), 0.95)
        figures = len(group), counts(group)[2], len(successes)
        cells.append(HourCell(hour, action_type, *figures, None if p95 is None else float(p95) / 1000))
    newest = max((cell.hour for cell in cells), default=stretch[0])
    volume: dict[str, int] = defaultdict(int)
    for cell in cells:
        volume[cell.action_type] += cell.executions
    busiest = sorted(volume, key=lambda action_type: (-volume[action_type], action_type))[:MOST_TYPES]
    series = series_of(cell for cell in cells if cell.hour < newest and cell.action_type in busiest)
    found: list[Row] = []
    for hour in (hour for hour in _hours(stretch) if hour < newest):
        for read in filter(None, (read_series(one, hour) for one in series)):
            if read.unusual or p["every"]:
                bounds = (Near(each, 0.0001) for each in (read.value, read.expected, read.low, read.high))
                key = (hour, read.action_type, read.measure.value)
                found.append((*key, *bounds, Near(read.deviations, 0.006), read.unusual))
    return sorted(found, key=lambda row: (-row[0].timestamp(), row[2], row[1]))


def forecast(data: Data, now: datetime, p: P) -> list[Row]:
    by_hour: dict[datetime, list[Action]] = defaultdict(list)
    for row in data.between(*_stretch(now, p, 24 * _int(p, "days"))):
        by_hour[_hour(row)].append(row)
    if not by_hour:
        return []
    first, after = min(by_hour), max(by_hour)

    def band(hour: datetime, count: Callable[[list[Action]], float]) -> Row:
        def earlier(at: datetime) -> list[float]:
            days = (at - 24 * day * HOUR for day in range(1, 29))
            alike = (day for day in days if first <= day < after and (day.weekday() >= 5) is (at.weekday() >= 5))
            return [math.cbrt(count(by_hour.get(day, []))) for day in alike]

        values = earlier(hour)
        if len(values) < 6:
            return (None, None, None)
        around = [earlier(hour + number * HOUR) for number in range(-2, 3)]
        distances = sorted(abs(one - median(each)) for each in around if each for one in each)
        spread = max(1.4826 * median(distances), distances[int(0.95 * len(distances))] / 1.96)
        centre = median(values)
        margin = 3 * max(spread, math.hypot(0.05 * centre, 1 / (3 * math.sqrt(max(centre, 1)))))
        return tuple(Near(max(0.0, each) ** 3, 0.51) for each in (centre, centre - margin, centre + margin))

    hours = _hours((after, after + 24 * HOUR))
    return [(hour, *band(hour, len), *band(hour, lambda rows: counts(rows)[2])) for hour in hours]


def weekly_growth(data: Data, now: datetime, p: P) -> list[Row]:
    rows: list[Row] = []
    since, until = week_of(now) - timedelta(weeks=_int(p, "weeks")), week_of(now) + timedelta(weeks=1)
    if "since" in p:
        since, until = _stretch(now, p, 0)
    weeks = _by_date((since, until), _zone(p), days=7)
    for earlier, (week, next_week) in pairwise(weeks):
        found = data.between(week, next_week)
        before = len(data.between(*earlier))
        over = next_week <= now
        growth = percent(len(found) - before, before) if over else None
        figures = (counts(found)[4], over, counts(found)[1], average(found, cell))
        rows.append((week, len(found), before, growth, *figures))
    return rows


def _organization(data: Data, trigger_id: str | None) -> str | None:
    trigger = data.triggers.get(trigger_id or "")
    return trigger.organization_id if trigger else None


def _plan(data: Data, key: str | None) -> Row:
    organization = data.organizations.get(key or "")
    return (key, organization and organization.name, organization and organization.plan)


def organization_usage(data: Data, now: datetime, p: P) -> list[Row]:
    found = data.between(*_days(now, p))
    rows: list[Row] = []
    for key, group in grouped(found, lambda row: _organization(data, row.trigger_id)).items():
        triggers = {row.trigger_id for row in group} - {None}
        plan = _plan(data, str(key) if key else None)
        figures = (len(triggers), retries(group), sum(durations(group)), mean(durations(group)))
        rows.append((*plan, *counts(group), *figures))
    return sorted(rows, key=lambda row: (-row[3], row[0] is None, row[0] or ""))


PRICES = Prices(
    "EUR",
    {
        "rest": Price(Decimal("0.0021"), Decimal("0.000370001"), Decimal("0.000000007")),
        "telegram": Price(Decimal("1.5"), per_second=Decimal("12345678.9")),
    },
)
"""Without a default, so that the costs of other types are not known."""


SETTINGS = QuerySettings(PRICES)


def cost_of(row: Action) -> Fraction | None:
    """What one action costs; None where its type has no price."""
    price = PRICES.by_type.get(row.action_type)
    if price is None:
        return None
    seconds = Fraction(row.duration_ms or 0, 1000)
    return (
        Fraction(price.per_execution)
        + (row.retry_count or 0) * Fraction(price.per_retry)
        + seconds * Fraction(price.per_second)
    )


def exact(value: Fraction) -> Decimal:
    """The same number, of which nothing may be lost."""
    with localcontext(prec=60):
        found = Decimal(value.numerator) / Decimal(value.denominator)
    assert Fraction(found) == value
    return found


def organization_costs(data: Data, now: datetime, p: P) -> list[Row]:
    zone, by = _zone(p), p["by"]
    since, until = months_until(now, _int(p, "months"), zone)
    if "since" in p:
        since, until = _stretch(now, p, 0)

    def key(row: Action) -> Row:
        assert row.executed_at is not None
        own = row.trigger_id if by == "trigger" else None
        kind = row.action_type if by == "action_type" else None
        month = f"{row.executed_at.astimezone(zone):%Y-%m}"
        return month, _organization(data, row.trigger_id), own, kind

    rows: list[Row] = []
    for found, group in grouped(data.between(since, until), key).items():
        assert isinstance(found, tuple)
        month, organization, trigger, kind = found
        costs = [cost_of(row) for row in group]
        known = [cost for cost in costs if cost is not None]
        priced = exact(sum(known, Fraction(0))) if known else None
        unpriced = len(costs) - len(known)
        name = data.triggers[trigger].name if trigger in data.triggers else None
        figures = (
            len(group),
            retries(group),
            sum(durations(group)),
            "EUR",
            None if unpriced else priced,
            priced,
            unpriced,
        )
        rows.append((month, *_plan(data, organization)[:2], trigger, name, kind, *figures))

    def place(row: Row) -> Row:
        month, organization, priced, trigger, kind = row[0], row[1], row[11], row[3], row[5]
        most_first = (priced is None, -(priced or 0), -row[6])
        named = (trigger is None, trigger or "", kind or "")
        return (-int(month.replace("-", "")), organization is None, organization or "", *most_first, *named)

    return sorted(rows, key=place)


def months_until(now: datetime, count: int, zone: tzinfo) -> tuple[datetime, datetime]:
    """The current month of the zone, and those before it, `count` in all."""
    local = now.astimezone(zone)
    first = local.year * 12 + local.month - count
    since, until = (datetime(at // 12, at % 12 + 1, 1, tzinfo=zone).astimezone(UTC) for at in (first, first + count))
    return since, until


def top_organizations(data: Data, now: datetime, p: P) -> list[Row]:
    groups = grouped(data.actions, lambda row: _organization(data, row.trigger_id))
    rows: list[Row] = []
    for key, group in groups.items():
        if key:
            triggers = {row.trigger_id for row in group}
            estimate = average(group, lambda row: row.trigger_id)
            figures = (len(triggers), *counts(group), estimate, retries(group), last(group))
            rows.append((*_plan(data, str(key)), *figures))
    return sorted(rows, key=lambda row: (-row[4], row[0]))[: _int(p, "limit")]


def summary(data: Data, now: datetime, p: P) -> list[Row]:
    since, until = _stretch(now, p, _int(p, "hours"))
    found = data.between(since, until)
    values = durations(found)
    low, high = min(values, default=None), max(values, default=None)
    latest = [last(rows) for rows in by_trigger(data).values()]
    active = sum(at is not None and since <= at < until for at in latest)
    hours = len({hour_of(row.executed_at) for row in found if row.executed_at})
    share = Fraction(100 * counts(found)[1], len(found)) if found else None
    status = None if share is None else "healthy" if share >= 95 else "degraded" if share >= 90 else "unhealthy"
    more = (approximated(found, 0.99), hours, status, f"{(until - since) // HOUR} hours")
    p95 = approximated(found, 0.95)
    return [(*counts(found), average(found, cell), p95, low, high, retries(found), active, *more)]


ANSWERS: dict[str, Callable[[Data, datetime, P], list[Row]]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        success_rate,
        hourly_actions,
        daily_trend,
        slowest_triggers,
        latency,
        sla_violations,
        failing_triggers,
        top_errors,
        failures_by_type,
        recent_failures,
        unhealthy_triggers,
        trigger_health,
        trigger_stats,
        most_active,
        idle_triggers,
        retrying_triggers,
        throughput,
        distribution,
        peak_hours,
        heat_map,
        correlations,
        anomalies,
        forecast,
        trigger_days,
        weekly_growth,
        organization_usage,
        organization_costs,
        top_organizations,
        summary,
    )
}
