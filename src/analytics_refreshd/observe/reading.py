"""What a `ServiceState` means at the moment somebody looks at it; shared by metrics, page and status.json."""

from datetime import datetime, timedelta

from analytics_refreshd.core.model import Limits, Pause
from analytics_refreshd.core.picture import ServiceState, ViewState
from analytics_refreshd.core.staleness import Verdict, verdict


def since_evaluation_seconds(state: ServiceState, monotonic: float) -> float:
    """Seconds since the ages were read, so that they climb on when the loop hangs."""
    read = state.taken_monotonic if state.evaluated_monotonic is None else state.evaluated_monotonic
    return max(0.0, monotonic - read)


def age_seconds(state: ServiceState, view: ViewState, monotonic: float) -> float | None:
    """The view's age at this moment; None where no success is known."""
    if view.age is None or view.age.seconds is None:
        return None
    return view.age.seconds + since_evaluation_seconds(state, monotonic)


def now(state: ServiceState, monotonic: float) -> datetime:
    """The daemon's clock, carried on to this moment: for its own schedule."""
    return state.taken_at + timedelta(seconds=max(0.0, monotonic - state.taken_monotonic))


def server_now(state: ServiceState, monotonic: float) -> datetime:
    """The server's clock, carried on to this moment: for pauses, alerts, runs and outages."""
    return state.server_now + timedelta(seconds=max(0.0, monotonic - state.taken_monotonic))


def pause(state: ServiceState, monotonic: float) -> Pause | None:
    """The pause in force at this moment; one that was read while it held may be over."""
    return state.pause if state.pause is not None and state.pause.ends_at > server_now(state, monotonic) else None


def max_age_seconds(limits: Limits, view: str) -> float:
    """The age beyond which a view is stale; twice the interval where nothing else was set."""
    return limits.max_age_seconds.get(view, 2 * limits.interval_seconds)


def critical_age_seconds(limits: Limits, view: str) -> float:
    """The age beyond which a stale view is critical; twice the limit where nothing else was set."""
    return limits.critical_age_seconds.get(view, 2 * max_age_seconds(limits, view))


def current_verdict(state: ServiceState, view: ViewState, monotonic: float) -> Verdict:
    """The verdict at this moment: a view that was fresh when evaluated goes stale while nobody evaluates."""
    age = age_seconds(state, view, monotonic)
    return verdict(age, max_age_seconds(state.limits, view.view), state.limits.interval_seconds)
