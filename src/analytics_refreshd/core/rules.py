"""When to wake somebody: the alert rules, as conditions computed from what is known at one moment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from analytics_refreshd.core.alerting import Alert, Condition, Severity
from analytics_refreshd.core.errors import is_permanent
from analytics_refreshd.core.model import (
    Blocker,
    Limits,
    Outcome,
    Pause,
    Rates,
    Reason,
    Run,
    ViewResult,
)
from analytics_refreshd.core.staleness import Age
from analytics_refreshd.core.wording import blocked_by, seconds_in_words


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the rules look at. `runs` is newest first; `firing` holds (alert, view) of what fires now.

    `now` is the server's time where the database answers. Unknown figures are None. `last_error` and `blocker` add
    to the texts only.
    """

    database: str
    now: datetime
    views: Sequence[str]
    ages: Mapping[str, Age] = field(default_factory=dict)
    runs: Sequence[Run] = ()
    rates: Rates | None = None
    database_down_since: datetime | None = None
    database_error: str | None = None
    history_failing_since: datetime | None = None
    history_pending: int = 0
    leaderless_since: datetime | None = None
    leaderless_reason: str | None = None
    contract_problems: Sequence[str] = ()
    pause: Pause | None = None
    blocker: Blocker | None = None
    firing: AbstractSet[tuple[Alert, str]] = frozenset()


# What the database's absence causes is DatabaseUnavailable's to tell, and a stop is nobody's failure.
_NOT_A_VIEWS_FAULT = frozenset({Reason.CONNECT, Reason.NOT_PRIMARY, Reason.SHUTDOWN})


def conditions(situation: Situation, limits: Limits) -> Iterator[Condition]:
    """Yield one condition for every alert and view, also for those that do not hold, so that they can resolve."""
    yield _database_unavailable(situation, limits)
    yield _no_leader(situation, limits)
    yield _history_failing(situation, limits)
    down = situation.database_down_since is not None
    yield _contract_broken(situation, down=down)
    yield _disk_full(situation, down=down)
    yield _low_success_rate(situation, limits, down=down)
    yield _high_latency(situation, limits, down=down)
    for view in situation.views:
        yield _view_stale(situation, limits, view, down=down)
        yield _refresh_failed(situation, limits, view, down=down)
        yield _refresh_slow(situation, limits, view, down=down)


def _streak(verdicts: Sequence[bool], *, firing: bool, fire_after: int, resolve_after: int) -> bool | None:
    """Hysteresis over runs, newest first: bad `fire_after` times to fire, good `resolve_after` times to resolve."""
    if not verdicts:
        return None if firing else False
    if firing:
        return not (len(verdicts) >= resolve_after and not any(verdicts[:resolve_after]))
    return len(verdicts) >= fire_after and all(verdicts[:fire_after])


def _results(situation: Situation, view: str) -> list[tuple[Run, ViewResult]]:
    found: list[tuple[Run, ViewResult]] = []
    for run in situation.runs:
        if run.outcome in (None, Outcome.SKIPPED, Outcome.UNKNOWN) or run.reason in _NOT_A_VIEWS_FAULT:
            continue
        found.extend((run, result) for result in run.views if result.view == view)
    return found


def _describe(situation: Situation, text: str, run: Run | None, result: ViewResult | None, look: str) -> str:
    parts = [text]
    if result is not None and result.error:
        state = f" (SQLSTATE {result.sqlstate})" if result.sqlstate else ""
        parts.append(f"Last error: {result.error}{state}.")
    blocker = situation.blocker or (run.blockers[-1] if run is not None and run.blockers else None)
    if blocker is not None:
        parts.append(f"It {blocked_by(blocker)}.")
    if situation.pause is not None:
        parts.append(f"Refreshes are paused until {situation.pause.ends_at:%Y-%m-%d %H:%M} UTC.")
    if run is not None:
        parts.append(f"Run {run.run_id}.")
    parts.append(f"Next: {look}")
    return " ".join(parts)


def _view_stale(situation: Situation, limits: Limits, view: str, *, down: bool) -> Condition:
    age = situation.ages.get(view)
    results = _results(situation, view)
    run, result = results[0] if results else (None, None)
    if result is not None and result.success:
        run, result = None, None
    limit = limits.max_age_seconds.get(view, 2 * limits.interval_seconds)
    critical = limits.critical_age_seconds.get(view, 2 * limit)
    seconds = age.seconds if age else None
    # While somebody has paused refreshes the age is of their making; while the database is away it is unknown.
    holds = None if down or situation.pause is not None or age is None else seconds is None or seconds > limit
    if seconds is None:
        summary = f"{situation.database}: {view} has never been seen refreshed"
        text = f"No successful refresh of {view} is known" + (f"; {age.doubt}." if age and age.doubt else ".")
    else:
        summary = f"{situation.database}: {view} is {seconds_in_words(seconds)} old"
        text = f"{view} was last refreshed {seconds_in_words(seconds)} ago; its limit is {seconds_in_words(limit)}."
    return Condition(
        Alert.VIEW_STALE,
        view,
        holds,
        Severity.CRITICAL if seconds is not None and seconds > critical else Severity.WARNING,
        summary,
        _describe(situation, text, run, result, f"analytics-refreshd history --view {view} --limit 5"),
        for_seconds=limits.stale_for_seconds,
        run_id=run.run_id if run else None,
    )


def _refresh_failed(situation: Situation, limits: Limits, view: str, *, down: bool) -> Condition:
    results = _results(situation, view)
    firing = (Alert.REFRESH_FAILED, view) in situation.firing
    verdicts = [not result.success for _, result in results]
    permanent = bool(results) and verdicts[0] and is_permanent(results[0][1].reason)
    holds = permanent or _streak(
        verdicts, firing=firing, fire_after=limits.failed_after_runs, resolve_after=limits.resolve_after_runs
    )
    run, result = next(((run, result) for run, result in results if not result.success), (None, None))
    count = next((position for position, bad in enumerate(verdicts) if not bad), len(verdicts))
    reason = result.reason.value if result and result.reason else "other"
    times = "run" if count == 1 else f"{count} runs in a row"
    return Condition(
        Alert.REFRESH_FAILED,
        view,
        None if down else holds,
        Severity.WARNING,
        f"{situation.database}: refreshing {view} fails ({reason})",
        _describe(
            situation,
            f"{view} failed in the last {times}.",
            run,
            result,
            f"analytics-refreshd history --view {view} --limit 5",
        ),
        run_id=run.run_id if run else None,
    )


def _refresh_slow(situation: Situation, limits: Limits, view: str, *, down: bool) -> Condition:
    results = [
        (run, result)
        for run, result in _results(situation, view)
        if result.success and result.duration_seconds is not None
    ]
    verdicts = [(result.duration_seconds or 0.0) > limits.slow_seconds for _, result in results]
    holds = _streak(
        verdicts,
        firing=(Alert.REFRESH_SLOW, view) in situation.firing,
        fire_after=limits.slow_after_runs,
        resolve_after=limits.resolve_after_runs,
    )
    run, result = next((pair for pair, slow in zip(results, verdicts, strict=True) if slow), (None, None))
    took = seconds_in_words(result.duration_seconds) if result and result.duration_seconds else "too long"
    return Condition(
        Alert.REFRESH_SLOW,
        view,
        None if down else holds,
        Severity.WARNING,
        f"{situation.database}: refreshing {view} took {took}",
        _describe(
            situation,
            f"{view} took {took}; the limit is {seconds_in_words(limits.slow_seconds)}.",
            run,
            None,
            f"analytics-refreshd history --view {view} --since 24h",
        ),
        run_id=run.run_id if run else None,
    )


def _disk_full(situation: Situation, *, down: bool) -> Condition:
    run = next((run for run in situation.runs if run.outcome not in (None, Outcome.SKIPPED)), None)
    result = None
    if run is not None:
        result = next((result for result in run.views if result.reason is Reason.DISK_FULL), None)
    full = run is not None and (result is not None or run.reason is Reason.DISK_FULL)
    return Condition(
        Alert.DATABASE_DISK_FULL,
        "",
        None if down or run is None else full,
        Severity.CRITICAL,
        f"{situation.database}: the server has no space left to refresh",
        _describe(
            situation,
            "The last run ran out of disk or temporary space; it is not retried before the next slot.",
            run if full else None,
            result,
            "df -h on the server's data and temporary tablespaces",
        ),
        run_id=run.run_id if run and full else None,
    )


def _contract_broken(situation: Situation, *, down: bool) -> Condition:
    problems = "; ".join(situation.contract_problems)
    return Condition(
        Alert.CONTRACT_BROKEN,
        "",
        None if down else bool(situation.contract_problems),
        Severity.CRITICAL,
        f"{situation.database}: the database is not as the daemon expects",
        f"{problems}. Next: analytics-refreshd check",
    )


def _rate(
    alert: Alert,
    rates: Rates | None,
    judge: Callable[[Rates], bool | None],
    *,
    down: bool,
    summary: Callable[[Rates], str],
    look: str,
) -> Condition:
    if down or rates is None:
        return Condition(alert, "", None)
    return Condition(alert, "", judge(rates), Severity.WARNING, summary(rates), f"{summary(rates)}. Next: {look}")


def _low_success_rate(situation: Situation, limits: Limits, *, down: bool) -> Condition:
    def judge(rates: Rates) -> bool:
        rate = rates.success_rate_percent
        return rate is not None and rates.executions >= limits.min_executions and rate < limits.success_rate_min_percent

    return _rate(
        Alert.LOW_SUCCESS_RATE,
        situation.rates,
        judge,
        down=down,
        summary=lambda rates: (
            f"{situation.database}: {rates.success_rate_percent or 0.0:.1f} % of {rates.executions} actions succeeded "
            f"in the last 24 h; the limit is {limits.success_rate_min_percent:g} %"
        ),
        look="analytics-refreshd query top-error-messages",
    )


def _high_latency(situation: Situation, limits: Limits, *, down: bool) -> Condition:
    def judge(rates: Rates) -> bool:
        p95 = rates.latency_p95_seconds
        return p95 is not None and rates.executions >= limits.min_executions and p95 > limits.latency_p95_max_seconds

    return _rate(
        Alert.HIGH_LATENCY,
        situation.rates,
        judge,
        down=down,
        summary=lambda rates: (
            f"{situation.database}: the p95 of the last 24 h is about {rates.latency_p95_seconds or 0.0:.2f} s; "
            f"the limit is {limits.latency_p95_max_seconds:g} s"
        ),
        look="analytics-refreshd query slowest-triggers",
    )


def _database_unavailable(situation: Situation, limits: Limits) -> Condition:
    since = situation.database_down_since
    error = situation.database_error or "no answer"
    since_text = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
    return Condition(
        Alert.DATABASE_UNAVAILABLE,
        "",
        since is not None,
        Severity.CRITICAL,
        f"{situation.database}: the database does not answer{since_text}",
        f"The last attempt failed with: {error}. Nothing is refreshed until it answers. Next: analytics-refreshd check",
        for_seconds=limits.database_unavailable_for_seconds,
        since=since,
    )


def _history_failing(situation: Situation, limits: Limits) -> Condition:
    since = situation.history_failing_since
    return Condition(
        Alert.HISTORY_FAILING,
        "",
        None if situation.database_down_since is not None else since is not None,
        Severity.WARNING,
        f"{situation.database}: runs cannot be written to history",
        f"{situation.history_pending} runs wait in memory; refreshes go on. Next: analytics-refreshd check",
        for_seconds=limits.history_failing_for_seconds,
        since=since,
    )


def _no_leader(situation: Situation, limits: Limits) -> Condition:
    since = situation.leaderless_since
    why = situation.leaderless_reason or "no replica holds the leader lock"
    return Condition(
        Alert.NO_LEADER,
        "",
        None if situation.database_down_since is not None else since is not None,
        Severity.CRITICAL,
        f"{situation.database}: nobody refreshes the views",
        f"{why}. Next: analytics-refreshd status",
        for_seconds=limits.no_leader_for_seconds,
        since=since,
    )
