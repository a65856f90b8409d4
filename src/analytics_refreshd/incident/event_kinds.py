"""Events that folding treats alike."""

from analytics_refreshd.core.events import Event

OF_A_START = frozenset({Event.CONFIG_LOADED.value, Event.DAEMON_STARTED.value})
OF_THE_API = frozenset(
    item.value for item in (Event.API_STARTED, Event.API_STOPPING, Event.API_STOPPED, Event.REQUEST_FINISHED)
)
"""Lines of another process under the daemon's name: they do not show that the daemon lives."""
COUNTED = frozenset(
    item.value
    for item in (
        Event.CLOCK_STEP,
        Event.CONFIG_RELOADED,
        Event.CONFIG_RELOAD_FAILED,
        Event.DAEMON_STOPPED,
        Event.DAEMON_STOPPING,
        Event.ELECTION_BLOCKED,
        Event.GUARD_TRIPPED,
        Event.HISTORY_PENDING,
        Event.SHUTDOWN_FORCED,
    )
)
"""Events that the review only counts, while an incident lasts."""
