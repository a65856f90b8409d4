"""The alert rule on a view's interval: whether it can hold."""

from collections.abc import Callable, Iterator, Mapping

from analytics_refreshd.core.alerts.evidence import judged_results
from analytics_refreshd.core.alerts.lifecycle import Alert, Condition
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.staleness import interval_seconds
from analytics_refreshd.core.targets import RefreshTime, refresh_time, unmet_target
from analytics_refreshd.core.wording import seconds_in_words

_BETTER_SHARE = 0.9


def target_conditions(snapshot: Snapshot, failed: Callable[[Exception], None] | None = None) -> Iterator[Condition]:
    """Yield a condition for each view. It cannot be judged while fewer than five refreshes of it are known."""
    try:
        results, isolation = judged_results(snapshot), snapshot.state.isolation
        known = {view: refresh_time(results.get(view, ()), isolation) for view in snapshot.state.views}
        times = {view: time for view, time in known.items() if time is not None}
        found = [_condition(snapshot, view, times) for view in snapshot.state.views]
    except Exception as error:
        if failed is None:
            raise
        failed(error)
        found = [Condition(Alert.TARGET_UNMEETABLE, view, None) for view in snapshot.state.views]
    yield from found


def _condition(snapshot: Snapshot, view: str, times: Mapping[str, RefreshTime]) -> Condition:
    state, alert = snapshot.state, Alert.TARGET_UNMEETABLE
    if state.database_down or view not in times:
        return Condition(alert, view, None)
    share = _BETTER_SHARE if (alert, view) in snapshot.firing else 1.0
    unmet = unmet_target(view, times, state.limits, share=share)
    if unmet is None:
        return Condition(alert, view, False)
    interval = seconds_in_words(interval_seconds(state.limits, view))
    text = f"{unmet.text[0].upper()}{unmet.text[1:]}; {unmet.advice}"
    return Condition(
        alert,
        view,
        True,
        summary=f"{state.database}: {view} cannot be refreshed every {interval}",
        description=f"{text}. Next: analytics-refreshd check",
    )
