"""The alert rules on the space that the database has."""

from itertools import islice

from analytics_refreshd.core.alerts.evidence import (
    NOT_A_VIEWS_FAULT,
    cause,
    describe,
    is_attempt,
    last_of_each_view,
    streak,
)
from analytics_refreshd.core.alerts.lifecycle import Alert, Condition, Severity
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.wording import bytes_in_words, seconds_in_words

_BETTER_SHARE = 0.9


def disk_full(snapshot: Snapshot) -> Condition:
    """True after a run without space, until runs have space again."""
    state = snapshot.state
    # no more of them decide
    judged = (run for run in state.judged_runs if is_attempt(run) and run.reason not in NOT_A_VIEWS_FAULT)
    firing, resolve_after = (Alert.DATABASE_DISK_FULL, "") in snapshot.firing, state.limits.resolve_after_runs
    if state.limits.view_interval_seconds:
        # a small view that is refreshed often does not show that a large one has room again
        runs = last_of_each_view(judged, resolve_after if firing else 1)
    else:
        runs = list(islice(judged, resolve_after))
    verdicts = [Reason.DISK_FULL in (run.reason, *(result.reason for result in run.views)) for run in runs]
    if state.limits.view_interval_seconds and runs:
        holds: bool | None = any(verdicts)
    else:
        holds = streak(verdicts, firing=firing, fire_after=1, resolve_after=resolve_after)
    run = next((run for run, full in zip(runs, verdicts, strict=True) if full), None)
    result = next((result for result in run.views if cause(run, result) is Reason.DISK_FULL), None) if run else None
    return Condition(
        Alert.DATABASE_DISK_FULL,
        "",
        None if state.database_down else holds,
        Severity.CRITICAL,
        f"{state.database}: the server has no space left to refresh",
        describe(
            snapshot,
            "A run ran out of disk or temporary space; it is not retried before the next slot.",
            run,
            result,
            "analytics-refreshd check",
        ),
        run_id=run.run_id if run else None,
    )


def disk_filling(snapshot: Snapshot) -> Condition:
    """True while the configured space is used up soon."""
    state, forecast = snapshot.state, snapshot.disk
    limit = state.limits.disk_full_within_seconds
    if state.limits.disk_bytes is None:
        # what is not asked for any more is over
        return Condition(Alert.DISK_FILLING, "", None if state.database_down else False)
    if forecast is None or forecast.seconds_left is None or state.database_down:
        return Condition(Alert.DISK_FILLING, "", None)
    # growth moves a little each hour: one that fires must get clearly better
    firing = (Alert.DISK_FILLING, "") in snapshot.firing
    left = forecast.seconds_left
    grows = forecast.growth_bytes_per_day
    growth = "" if grows is None else f" and grows by {bytes_in_words(round(grows))} a day"
    when = "now" if left <= 0 else f"in about {seconds_in_words(left)}"
    return Condition(
        Alert.DISK_FILLING,
        "",
        left < limit / (_BETTER_SHARE if firing else 1.0),
        Severity.WARNING,
        f"{state.database}: the space for the database is used up {when}",
        f"It takes {bytes_in_words(forecast.database_bytes)} of [alerts] disk_bytes, "
        f"{bytes_in_words(forecast.capacity_bytes)}{growth}. Next: analytics-refreshd status",
    )
