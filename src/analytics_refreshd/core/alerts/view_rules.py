"""The alert rules on one view: too old, failing, slow."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from analytics_refreshd.core.alerts.evidence import (
    MOST_JUDGED,
    cause,
    describe,
    is_attempt,
    judged_results,
    last_of_each_slot,
    streak,
)
from analytics_refreshd.core.alerts.lifecycle import Alert, Condition, Severity
from analytics_refreshd.core.errors import is_permanent
from analytics_refreshd.core.model import Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.snapshot import Snapshot, ViewRun
from analytics_refreshd.core.staleness import Age, critical_age_seconds, interval_seconds, max_age_seconds, verdict
from analytics_refreshd.core.wording import seconds_in_words


def view_stale(snapshot: Snapshot, view: str) -> Condition:
    """True while the view is too old. An unknown age counts after the limit."""
    state = snapshot.state
    age, limits = snapshot.age(view), state.limits
    results = _results(snapshot, view)
    run, result = results[0] if results else (None, None)
    if result is not None and result.success:
        run, result = None, None
    limit, critical = max_age_seconds(limits, view), critical_age_seconds(limits, view)
    stale_for = limits.view_stale_for_seconds.get(view, limits.stale_for_seconds)
    seconds = age.seconds if age else None
    stale = verdict(age, limits).is_stale
    # whoever paused refreshes made the view old, and while the database is away its age is unknown
    excused = stale and (snapshot.pause is not None or _not_yet_tried(snapshot, view, age, limit))
    # without our schema only the leader's own successes are known: how long a standby has waited says nothing
    unseen = not snapshot.leads and _own_evidence(snapshot, age)
    if unseen:
        excused, stale = (Alert.VIEW_STALE, view) in snapshot.firing, False
    if seconds is None:
        summary = f"{state.database}: no refresh of {view} is known"
        text = f"No successful refresh of {view} is known" + (f"; {age.doubt}." if age and age.doubt else ".")
        # A daemon that has just started on an older install knows no age yet: it must have looked for the whole limit.
        for_seconds = max(stale_for, limit)
    else:
        for_seconds = stale_for
        summary = f"{state.database}: {view} is {seconds_in_words(seconds)} old"
        text = f"{view} was last refreshed {seconds_in_words(seconds)} ago; its limit is {seconds_in_words(limit)}."
    return Condition(
        Alert.VIEW_STALE,
        view,
        None if state.database_down or age is None or excused else stale,
        Severity.CRITICAL if seconds is None or seconds > critical else Severity.WARNING,
        summary,
        describe(snapshot, text, run, result, _look(view, permanent=_needs_a_person(run, result))),
        for_seconds=for_seconds,
        since=state.leading_since if seconds is None else None,
        run_id=run.run_id if run else None,
    )


def refresh_failed(snapshot: Snapshot, view: str) -> Condition:
    """True after `failed_after_runs` failures in a row. One is enough if waiting cannot fix it."""
    state = snapshot.state
    results, limits = _results(snapshot, view), state.limits
    firing = (Alert.REFRESH_FAILED, view) in snapshot.firing
    verdicts = [not result.success for _, result in results]
    permanent = bool(results) and verdicts[0] and _needs_a_person(*results[0])
    holds = permanent or streak(
        verdicts, firing=firing, fire_after=limits.failed_after_runs, resolve_after=limits.resolve_after_runs
    )
    run, result = next(((run, result) for run, result in results if not result.success), (None, None))
    count = next((position for position, bad in enumerate(verdicts) if not bad), len(verdicts))
    why = cause(run, result) if run and result else None
    reason = why.value if why else "other"
    sqlstate = result.sqlstate if result else None
    if count:
        more = " or more" if count == MOST_JUDGED else ""
        text = f"{view} failed in the last {'run' if count == 1 else f'{count}{more} runs in a row'}."
    else:
        text = f"{view} failed lately and has not yet succeeded {limits.resolve_after_runs} times in a row."
    return Condition(
        Alert.REFRESH_FAILED,
        view,
        None if state.database_down else holds,
        Severity.WARNING,
        f"{state.database}: refreshing {view} fails ({reason}{f', {sqlstate}' if sqlstate else ''})",
        describe(snapshot, text, run, result, _look(view, permanent=permanent)),
        run_id=run.run_id if run else None,
    )


def refresh_slow(snapshot: Snapshot, view: str) -> Condition:
    """True after `slow_after_runs` slow runs in a row. Runs of unknown duration do not count."""
    state = snapshot.state
    limits = state.limits
    results = [
        (run, result)
        for run, result in _results(snapshot, view)
        if result.success and result.duration_seconds is not None
    ]
    verdicts = [(result.duration_seconds or 0.0) > limits.slow_seconds for _, result in results]
    holds = streak(
        verdicts,
        firing=(Alert.REFRESH_SLOW, view) in snapshot.firing,
        fire_after=limits.slow_after_runs,
        resolve_after=limits.resolve_after_runs,
    )
    run, result = next((pair for pair, slow in zip(results, verdicts, strict=True) if slow), (None, None))
    took = seconds_in_words(result.duration_seconds) if result and result.duration_seconds else "too long"
    return Condition(
        Alert.REFRESH_SLOW,
        view,
        None if state.database_down else holds,
        Severity.WARNING,
        f"{state.database}: refreshing {view} took {took}",
        describe(
            snapshot,
            f"{view} took {took}; the limit is {seconds_in_words(limits.slow_seconds)}.",
            run,
            None,
            f"analytics-refreshd history --view {view} --since 24h",
        ),
        run_id=run.run_id if run else None,
    )


def _needs_a_person(run: Run | None, result: ViewResult | None) -> bool:
    """Whether a result failed, and waiting cannot fix it."""
    return run is not None and result is not None and is_permanent(cause(run, result), result.sqlstate)


def _look(view: str, *, permanent: bool) -> str:
    """Return the command that tells more: what is wrong by now, or what went before."""
    return "analytics-refreshd check" if permanent else f"analytics-refreshd history --view {view} --limit 5"


def _results(snapshot: Snapshot, view: str) -> Sequence[ViewRun]:
    results, limits = judged_results(snapshot).get(view, ()), snapshot.state.limits
    # where views have slots of their own, one that failed is tried again at those of others: that is no further run
    return last_of_each_slot(results, interval_seconds(limits, view)) if limits.view_interval_seconds else results


def _own_evidence(snapshot: Snapshot, age: Age | None) -> bool:
    """Tell whether nothing but this process's own successes is known, or not even one."""
    return age is not None and (
        age.seconds is None or (age.source == "record" and not snapshot.state.history_available)
    )


def _not_yet_tried(snapshot: Snapshot, view: str, age: Age | None, limit_seconds: float) -> bool:
    """Tell whether what made the view old, or look old, is just over, and its refresh still to come.

    That is an outage, a pause, or another replica's lead without our schema, whose successes are known to it alone. The
    excuse ends with the view's first run after it, or two of its intervals later: after that the refreshes themselves
    are broken. A lead that was lost in the outage, and is back within that time, starts the two intervals again.
    """
    state, now = snapshot.state, snapshot.server_now
    led_at = state.leading_since
    grace_seconds = 2 * interval_seconds(state.limits, view)
    runs = [run for run in state.runs if not run.views or any(result.view == view for result in run.views)]
    newest_attempt = next(filter(is_attempt, runs), None)

    def lately(over_at: datetime) -> bool:
        taken_at = state.lead_taken_at
        if taken_at is not None and 0 < (taken_at - over_at).total_seconds() < grace_seconds:
            over_at = taken_at
        tried = newest_attempt is not None and newest_attempt.started_at >= over_at
        return (now - over_at).total_seconds() < grace_seconds and not tried

    if state.last_outage is not None and age is not None:
        lost_at, restored_at = state.last_outage
        # an age that was never known counts from the lead on: a connection cut in every run would excuse it for ever
        since = led_at if age.seconds is None else now - timedelta(seconds=age.seconds)
        if since is not None and (lost_at - since).total_seconds() <= limit_seconds and lately(restored_at):
            return True
    # another may have led unseen, if not for long
    refreshed_at = age.last_success_at if age is not None else None
    taken_at = state.lead_taken_at
    if refreshed_at is not None and taken_at is not None and _own_evidence(snapshot, age):
        lost_at, restored_at = state.last_outage or (now, now)
        away_seconds = max(0.0, (restored_at - max(lost_at, refreshed_at)).total_seconds())
        briefly = (now - refreshed_at).total_seconds() - away_seconds <= limit_seconds + grace_seconds
        if briefly and refreshed_at < taken_at and lately(taken_at):
            return True
    newest = next((run for run in runs if run.outcome is not None), None)
    if newest is None or newest.outcome is not Outcome.SKIPPED or newest.reason is not Reason.PAUSED:
        return False
    return (now - newest.started_at).total_seconds() < grace_seconds
