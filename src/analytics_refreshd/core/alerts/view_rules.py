"""The alert rules on one view: too old, failing, slow."""

from analytics_refreshd.core.alerts.lifecycle import Alert, Condition, Severity
from analytics_refreshd.core.alerts.situation import NOT_A_VIEWS_FAULT, Situation, attempts, cause, describe, streak
from analytics_refreshd.core.errors import is_permanent
from analytics_refreshd.core.model import Limits, Outcome, Reason, Run, ViewResult
from analytics_refreshd.core.wording import seconds_in_words


def view_stale(situation: Situation, limits: Limits, view: str, *, down: bool) -> Condition:
    """Older than its limit, or of unknown age for as long as that limit."""
    age = situation.ages.get(view)
    results = _results(situation, view)
    run, result = results[0] if results else (None, None)
    if result is not None and result.success:
        run, result = None, None
    limit = limits.max_age_seconds.get(view, 2 * limits.interval_seconds)
    critical = limits.critical_age_seconds.get(view, 2 * limit)
    seconds = age.seconds if age else None
    stale = seconds is None or seconds > limit
    # While somebody has paused refreshes the age is of their making; while the database is away it is unknown.
    excused = stale and (situation.pause is not None or _not_yet_tried(situation, limits, seconds, limit))
    if seconds is None:
        summary = f"{situation.database}: {view} has never been seen refreshed"
        text = f"No successful refresh of {view} is known" + (f"; {age.doubt}." if age and age.doubt else ".")
        # A daemon that has just started on an older install knows no age yet: it must have looked for the whole limit.
        for_seconds = max(limits.stale_for_seconds, limit)
    else:
        for_seconds = limits.stale_for_seconds
        summary = f"{situation.database}: {view} is {seconds_in_words(seconds)} old"
        text = f"{view} was last refreshed {seconds_in_words(seconds)} ago; its limit is {seconds_in_words(limit)}."
    return Condition(
        Alert.VIEW_STALE,
        view,
        None if down or age is None or excused else stale,
        Severity.CRITICAL if seconds is None or seconds > critical else Severity.WARNING,
        summary,
        describe(situation, text, run, result, f"analytics-refreshd history --view {view} --limit 5"),
        for_seconds=for_seconds,
        run_id=run.run_id if run else None,
    )


def refresh_failed(situation: Situation, limits: Limits, view: str, *, down: bool) -> Condition:
    """Failed `failed_after_runs` times in a row, or once in a way that waiting cannot mend."""
    results = _results(situation, view)
    firing = (Alert.REFRESH_FAILED, view) in situation.firing
    verdicts = [not result.success for _, result in results]
    permanent = bool(results) and verdicts[0] and is_permanent(cause(*results[0]), results[0][1].sqlstate)
    holds = permanent or streak(
        verdicts, firing=firing, fire_after=limits.failed_after_runs, resolve_after=limits.resolve_after_runs
    )
    run, result = next(((run, result) for run, result in results if not result.success), (None, None))
    count = next((position for position, bad in enumerate(verdicts) if not bad), len(verdicts))
    why = cause(run, result) if run and result else None
    reason = why.value if why else "other"
    state = result.sqlstate if result else None
    if count:
        text = f"{view} failed in the last {'run' if count == 1 else f'{count} runs in a row'}."
    else:
        text = f"{view} failed lately and has not yet succeeded {limits.resolve_after_runs} times in a row."
    return Condition(
        Alert.REFRESH_FAILED,
        view,
        None if down else holds,
        Severity.WARNING,
        f"{situation.database}: refreshing {view} fails ({reason}{f', {state}' if state else ''})",
        describe(
            situation,
            text,
            run,
            result,
            "analytics-refreshd check" if permanent else f"analytics-refreshd history --view {view} --limit 5",
        ),
        run_id=run.run_id if run else None,
    )


def refresh_slow(situation: Situation, limits: Limits, view: str, *, down: bool) -> Condition:
    """Slower than the limit `slow_after_runs` times in a row; a run whose duration nobody knows says nothing."""
    results = [
        (run, result)
        for run, result in _results(situation, view)
        if result.success and result.duration_seconds is not None
    ]
    verdicts = [(result.duration_seconds or 0.0) > limits.slow_seconds for _, result in results]
    holds = streak(
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
        describe(
            situation,
            f"{view} took {took}; the limit is {seconds_in_words(limits.slow_seconds)}.",
            run,
            None,
            f"analytics-refreshd history --view {view} --since 24h",
        ),
        run_id=run.run_id if run else None,
    )


def _results(situation: Situation, view: str) -> list[tuple[Run, ViewResult]]:
    return [
        (run, result)
        for run in attempts(situation)
        for result in run.views
        if result.view == view and (result.success or cause(run, result) not in NOT_A_VIEWS_FAULT)
    ]


def _not_yet_tried(situation: Situation, limits: Limits, age_seconds: float | None, limit_seconds: float) -> bool:
    """Whether an outage that made the view old, or a pause, is only just over, so that its refresh is still to come.

    The excuse ends with the first run after it, or two intervals later: whoever refreshes is broken then.
    """
    grace_seconds = 2 * limits.interval_seconds
    if situation.last_outage is not None and age_seconds is not None:
        lost_at, restored_at = situation.last_outage
        was_fresh = age_seconds - (situation.now - lost_at).total_seconds() <= limit_seconds
        lately = (situation.now - restored_at).total_seconds() < grace_seconds
        if was_fresh and lately and not any(run.started_at >= restored_at for run in attempts(situation)):
            return True
    newest = next((run for run in situation.runs if run.outcome is not None), None)
    if newest is None or newest.outcome is not Outcome.SKIPPED or newest.reason is not Reason.PAUSED:
        return False
    return (situation.now - newest.started_at).total_seconds() < grace_seconds
