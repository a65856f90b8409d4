"""The alert rule on single triggers: one alert for each that fails too often."""

from collections.abc import Callable, Iterator

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertState, Condition, Severity
from analytics_refreshd.core.failing_triggers import TriggerRate
from analytics_refreshd.core.snapshot import Snapshot

BETTER_BY_PERCENT = 1.0
"""How far above the limit an alert that fires resolves: a rate moves around its limit."""


def trigger_conditions(snapshot: Snapshot, failed: Callable[[Exception], None] | None = None) -> Iterator[Condition]:
    """Yield a condition for each trigger that fails or has an alert.

    What raises is handed to `failed`, and nothing is known then. Without `failed` it raises.
    """
    try:
        found = list(_conditions(snapshot))
    except Exception as error:
        if failed is None:
            raise
        failed(error)
        found = [Condition(Alert.TRIGGER_FAILING, trigger, None) for trigger in _open(snapshot)]
    yield from found


def _conditions(snapshot: Snapshot) -> Iterator[Condition]:
    state = snapshot.state
    limit = state.limits.trigger_success_rate_min_percent
    if state.database_down or (limit is not None and state.failing_triggers is None):
        for trigger in _open(snapshot):
            yield Condition(Alert.TRIGGER_FAILING, trigger, None)
        return
    known = {} if limit is None else {rate.trigger_id: rate for rate in state.failing_triggers or ()}
    for rate in known.values():
        yield _condition(snapshot, rate, limit or 0.0)
    for trigger in _open(snapshot):
        if trigger not in known:
            # what is not asked for any more is over, too
            yield Condition(Alert.TRIGGER_FAILING, trigger, False)


def _condition(snapshot: Snapshot, rate: TriggerRate, limit: float) -> Condition:
    firing = (Alert.TRIGGER_FAILING, rate.trigger_id) in snapshot.firing
    text = (
        f"{snapshot.state.database}: {rate.success_rate_percent:.1f} % of {rate.executions} actions of trigger"
        f" {rate.trigger_id} succeeded in the last 24 h; the limit is {limit:g} %"
    )
    return Condition(
        Alert.TRIGGER_FAILING,
        rate.trigger_id,
        rate.success_rate_percent < (limit + BETTER_BY_PERCENT if firing else limit),
        Severity.WARNING,
        text,
        f"{text}. Next: analytics-refreshd query unhealthy-triggers",
    )


def _open(snapshot: Snapshot) -> list[str]:
    return [
        trigger
        for (alert, trigger), record in snapshot.state.alerts.items()
        if alert is Alert.TRIGGER_FAILING and record.state is not AlertState.RESOLVED
    ]
