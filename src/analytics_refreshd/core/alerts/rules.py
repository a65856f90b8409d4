"""The alert rules: which conditions hold in a status snapshot."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from analytics_refreshd.core.alerts.disk_rules import disk_filling, disk_full
from analytics_refreshd.core.alerts.lifecycle import Alert, Condition, Severity
from analytics_refreshd.core.alerts.target_rules import target_conditions
from analytics_refreshd.core.alerts.trigger_rules import trigger_conditions
from analytics_refreshd.core.alerts.unusual_rules import unusual
from analytics_refreshd.core.alerts.view_rules import refresh_failed, refresh_slow, view_stale
from analytics_refreshd.core.alerts.warehouse_rules import warehouse_behind
from analytics_refreshd.core.evaluating import stuck_seconds
from analytics_refreshd.core.model import Rates
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.state import STATUS_MISSES_TOLERATED
from analytics_refreshd.core.wording import seconds_in_words

# a figure that moves around its limit would fire and resolve at every refresh: one that fires must get clearly better
_BETTER_BY_PERCENT = 1.0
_BETTER_SHARE = 0.9


def conditions(snapshot: Snapshot, failed: Callable[[Exception], None] | None = None) -> Iterator[Condition]:
    """Yield a condition for every alert and view, and for failing triggers. Those that do not hold resolve.

    A rule that raises is handed to `failed`, and its condition cannot be evaluated: it must not silence the others.
    Without `failed` it raises.
    """
    for alert, rule in _RULES.items():
        yield _evaluated(alert, "", partial(rule, snapshot), failed)
    for view in snapshot.state.views:
        for alert, view_rule in _VIEW_RULES.items():
            yield _evaluated(alert, view, partial(view_rule, snapshot, view), failed)
    yield from target_conditions(snapshot, failed)
    yield from trigger_conditions(snapshot, failed)


def _evaluated(
    alert: Alert, view: str, rule: Callable[[], Condition], failed: Callable[[Exception], None] | None
) -> Condition:
    try:
        return rule()
    except Exception as error:
        if failed is None:
            raise
        failed(error)
        return Condition(alert, view, None)


def _problems(snapshot: Snapshot) -> list[str]:
    state = snapshot.state
    problems = [*state.contract_problems, *(state.delta.problems if state.delta is not None else ())]
    if state.status is not None and state.status.problem and state.status_misses > STATUS_MISSES_TOLERATED:
        problems.append(state.status.problem)
    return problems


def _contract_broken(snapshot: Snapshot) -> Condition:
    state = snapshot.state
    problems = _problems(snapshot)
    return Condition(
        Alert.CONTRACT_BROKEN,
        "",
        None if state.database_down else bool(problems),
        Severity.CRITICAL,
        f"{state.database}: the database is not as the daemon expects",
        f"{'; '.join(problems)}. Next: analytics-refreshd check",
    )


def _rate(
    alert: Alert,
    snapshot: Snapshot,
    holds: Callable[[Rates], bool | None],
    *,
    summary: Callable[[Rates], str],
    look: str,
) -> Condition:
    state = snapshot.state
    rates = state.rates
    if state.database_down or rates is None:
        return Condition(alert, "", None)
    return Condition(alert, "", holds(rates), Severity.WARNING, summary(rates), f"{summary(rates)}. Next: {look}")


def _low_success_rate(snapshot: Snapshot) -> Condition:
    state = snapshot.state
    firing = (Alert.LOW_SUCCESS_RATE, "") in snapshot.firing
    limit = state.limits.success_rate_min_percent
    limit = min(100.0, limit + _BETTER_BY_PERCENT) if firing else limit

    def holds(rates: Rates) -> bool:
        rate = rates.success_rate_percent
        return rate is not None and rates.executions >= state.limits.min_executions and rate < limit

    return _rate(
        Alert.LOW_SUCCESS_RATE,
        snapshot,
        holds,
        summary=lambda rates: (
            f"{state.database}: {rates.success_rate_percent or 0.0:.1f} % of {rates.executions} actions succeeded "
            f"in the last 24 h; the limit is {state.limits.success_rate_min_percent:g} %"
        ),
        look="analytics-refreshd query success-rate",
    )


def _high_latency(snapshot: Snapshot) -> Condition:
    state = snapshot.state
    firing = (Alert.HIGH_LATENCY, "") in snapshot.firing
    limit = state.limits.latency_p95_max_seconds * (_BETTER_SHARE if firing else 1.0)

    def holds(rates: Rates) -> bool | None:
        if rates.latency_problem:
            return None
        p95 = rates.latency_p95_seconds
        return (
            p95 is not None
            and (rates.latency_executions or rates.executions) >= state.limits.min_executions
            and p95 > limit
        )

    return _rate(
        Alert.HIGH_LATENCY,
        snapshot,
        holds,
        summary=lambda rates: (
            f"{state.database}: the p95 of the last 24 h is {rates.latency_p95_seconds or 0.0:.2f} s; "
            f"the limit is {state.limits.latency_p95_max_seconds:g} s"
        ),
        look="analytics-refreshd query distribution",
    )


def _database_unavailable(snapshot: Snapshot) -> Condition:
    state = snapshot.state
    since = state.database_down_since
    error = state.database_error or "no answer"
    # the last leader tells of it first; a standby waits twice as long
    wait_seconds = state.limits.database_unavailable_for_seconds * (1 if state.owns_missed_slots else 2)
    since_text = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
    return Condition(
        Alert.DATABASE_UNAVAILABLE,
        "",
        since is not None,
        Severity.CRITICAL,
        f"{state.database}: the database does not answer{since_text}",
        f"The last attempt failed with: {error}. Nothing is refreshed until it answers. Next: analytics-refreshd check",
        for_seconds=wait_seconds,
        since=since,
    )


def _history_failing(snapshot: Snapshot) -> Condition:
    state = snapshot.state
    since = state.counted_from(state.history_failing_since)
    return Condition(
        Alert.HISTORY_FAILING,
        "",
        None if state.database_down else since is not None,
        Severity.WARNING,
        f"{state.database}: runs cannot be written to history",
        f"{state.history_pending or 0} runs wait in memory; refreshes go on. Next: analytics-refreshd check",
        for_seconds=state.limits.history_failing_for_seconds,
        since=since,
    )


def _no_leader(snapshot: Snapshot) -> Condition:
    state = snapshot.state
    since = state.counted_from(state.leaderless_since)
    why = state.leaderless_reason or "no replica holds the leader lock"
    return Condition(
        Alert.NO_LEADER,
        "",
        None if state.database_down else since is not None,
        Severity.CRITICAL,
        f"{state.database}: nobody refreshes the views",
        f"{why}. Next: analytics-refreshd status",
        for_seconds=state.limits.no_leader_for_seconds,
        since=since,
    )


def evaluation_stuck(snapshot: Snapshot) -> Condition:
    """True while no evaluation has ended for three periods. `app.evaluation_watch` asks for it from outside."""
    state = snapshot.state
    silent = snapshot.evaluation_silent_seconds
    lasted = seconds_in_words(silent)
    return Condition(
        Alert.EVALUATION_STUCK,
        "",
        silent is not None and silent > stuck_seconds(state.limits.evaluate_seconds),
        Severity.CRITICAL,
        f"{state.database}: nothing has been evaluated for {lasted}",
        f"Replica {state.replica} has ended no evaluation for {lasted}: ages and alerts are as they were then. "
        "Next: journalctl -u analytics-refreshd -n 50, or kubectl logs",
    )


def _retention_overdue(snapshot: Snapshot) -> Condition:
    state = snapshot.state
    limit = state.limits.retention_overdue_seconds
    runs = state.retention
    if limit is None or runs is None or state.database_down:
        # what is not asked for any more is over
        over = limit is None and not state.database_down
        return Condition(Alert.RETENTION_OVERDUE, "", False if over else None)
    last = "no run is recorded"
    if runs.begun_at is not None:
        why = f", {runs.reason}" if runs.reason else ""
        last = f"the last began at {runs.begun_at:%Y-%m-%d %H:%M} UTC: {runs.outcome or 'without an end'}{why}"
    age = None if runs.ok_at is None else (snapshot.server_now - runs.ok_at).total_seconds()
    return Condition(
        Alert.RETENTION_OVERDUE,
        "",
        age is None or age > limit,
        Severity.WARNING,
        f"{state.database}: no retention run ended well for {seconds_in_words(limit if age is None else age)}",
        f"Rows of the action log pile up; {last}. Next: analytics-refreshd status",
        # before the first, since when it was asked for is when this was first seen
        for_seconds=limit if age is None else 0.0,
    )


_RULES: Mapping[Alert, Callable[[Snapshot], Condition]] = {
    Alert.DATABASE_UNAVAILABLE: _database_unavailable,
    Alert.NO_LEADER: _no_leader,
    Alert.HISTORY_FAILING: _history_failing,
    Alert.CONTRACT_BROKEN: _contract_broken,
    Alert.DATABASE_DISK_FULL: disk_full,
    Alert.DISK_FILLING: disk_filling,
    Alert.LOW_SUCCESS_RATE: _low_success_rate,
    Alert.HIGH_LATENCY: _high_latency,
    Alert.EVALUATION_STUCK: evaluation_stuck,
    Alert.RETENTION_OVERDUE: _retention_overdue,
    Alert.UNUSUAL: unusual,
    Alert.WAREHOUSE_BEHIND: warehouse_behind,
}
_VIEW_RULES: Mapping[Alert, Callable[[Snapshot, str], Condition]] = {
    Alert.VIEW_STALE: view_stale,
    Alert.REFRESH_FAILED: refresh_failed,
    Alert.REFRESH_SLOW: refresh_slow,
}
