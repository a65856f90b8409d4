"""When to wake somebody: the alert rules, as conditions computed from what is known at one moment."""

from collections.abc import Callable, Iterator

from analytics_refreshd.core.alerts.lifecycle import Alert, Condition, Severity
from analytics_refreshd.core.alerts.situation import NOT_A_VIEWS_FAULT, Situation, attempts, cause, describe, streak
from analytics_refreshd.core.alerts.view_rules import refresh_failed, refresh_slow, view_stale
from analytics_refreshd.core.model import Limits, Rates, Reason

__all__ = ["Situation", "conditions"]

# a figure that moves around its limit would fire and resolve at every refresh: one that fires must get clearly better
_BETTER_BY_PERCENT = 1.0
_BETTER_SHARE = 0.9


def conditions(situation: Situation, limits: Limits) -> Iterator[Condition]:
    """Yield one condition for every alert and view, also for those that do not hold, so that they can resolve."""
    yield _database_unavailable(situation, limits)
    yield _no_leader(situation, limits)
    yield _history_failing(situation, limits)
    down = situation.database_down_since is not None
    yield _contract_broken(situation, down=down)
    yield _disk_full(situation, limits, down=down)
    yield _low_success_rate(situation, limits, down=down)
    yield _high_latency(situation, limits, down=down)
    for view in situation.views:
        yield view_stale(situation, limits, view, down=down)
        yield refresh_failed(situation, limits, view, down=down)
        yield refresh_slow(situation, limits, view, down=down)


def _disk_full(situation: Situation, limits: Limits, *, down: bool) -> Condition:
    runs = [run for run in attempts(situation) if run.reason not in NOT_A_VIEWS_FAULT]
    verdicts = [Reason.DISK_FULL in (run.reason, *(result.reason for result in run.views)) for run in runs]
    firing = (Alert.DATABASE_DISK_FULL, "") in situation.firing
    holds = streak(verdicts, firing=firing, fire_after=1, resolve_after=limits.resolve_after_runs)
    run = next((run for run, full in zip(runs, verdicts, strict=True) if full), None)
    result = next((result for result in run.views if cause(run, result) is Reason.DISK_FULL), None) if run else None
    return Condition(
        Alert.DATABASE_DISK_FULL,
        "",
        None if down else holds,
        Severity.CRITICAL,
        f"{situation.database}: the server has no space left to refresh",
        describe(
            situation,
            "A run ran out of disk or temporary space; it is not retried before the next slot.",
            run,
            result,
            "df -h on the server's data and temporary tablespaces",
        ),
        run_id=run.run_id if run else None,
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
    firing = (Alert.LOW_SUCCESS_RATE, "") in situation.firing
    limit = limits.success_rate_min_percent
    limit = min(100.0, limit + _BETTER_BY_PERCENT) if firing else limit

    def judge(rates: Rates) -> bool:
        rate = rates.success_rate_percent
        return rate is not None and rates.executions >= limits.min_executions and rate < limit

    return _rate(
        Alert.LOW_SUCCESS_RATE,
        situation.rates,
        judge,
        down=down,
        summary=lambda rates: (
            f"{situation.database}: {rates.success_rate_percent or 0.0:.1f} % of {rates.executions} actions succeeded "
            f"in the last 24 h; the limit is {limits.success_rate_min_percent:g} %"
        ),
        look="analytics-refreshd query top-errors",
    )


def _high_latency(situation: Situation, limits: Limits, *, down: bool) -> Condition:
    firing = (Alert.HIGH_LATENCY, "") in situation.firing
    limit = limits.latency_p95_max_seconds * (_BETTER_SHARE if firing else 1.0)

    def judge(rates: Rates) -> bool:
        p95 = rates.latency_p95_seconds
        return (
            p95 is not None and (rates.latency_executions or rates.executions) >= limits.min_executions and p95 > limit
        )

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
