"""The alert rule on a warehouse that lags."""

from analytics_refreshd.core.alerts.lifecycle import Alert, Condition, Severity
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.wording import seconds_in_words


def warehouse_behind(snapshot: Snapshot) -> Condition:
    """True while a change has waited for the warehouse too long."""
    state = snapshot.state
    limit, outbox = state.limits.warehouse_behind_seconds, state.warehouse
    if limit is None or outbox is None or state.database_down:
        # what is not asked for any more is over
        over = limit is None and not state.database_down
        return Condition(Alert.WAREHOUSE_BEHIND, "", False if over else None)
    lag = outbox.lag_seconds(snapshot.server_now)
    waits = f"{len(outbox.waiting):,} batches of {outbox.rows:,} rows wait"
    if outbox.exporting:
        waits = f"an export is due or under way ({outbox.epoch_reason}), and {waits}"
    return Condition(
        Alert.WAREHOUSE_BEHIND,
        "",
        lag > limit,
        Severity.WARNING,
        f"{state.database}: the warehouse is {seconds_in_words(lag)} behind",
        f"Refreshes go on; {waits}, and part.failed in the log says why. Next: analytics-refreshd status",
    )
