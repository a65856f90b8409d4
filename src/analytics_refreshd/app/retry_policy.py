"""Decides when a run's failed attempt is repeated."""

from collections.abc import Callable, Sequence
from threading import Event

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    stop_any,
    stop_when_event_set,
    wait_exponential,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Origin, Reason
from analytics_refreshd.core.retry import UNLIMITED_ATTEMPTS, most_attempts

_COMMAND_ATTEMPTS = 3
RETRY_WAIT = wait_exponential(max=4.0) + wait_random_exponential(max=4.0)
"""1 to 2 s, then 2 to 4 s, then 4 to 8 s: never so short that a database that comes back is flooded."""


def retrying(
    origin: Origin,
    *,
    latest_start: float,
    monotonic: Callable[[], float],
    stopped: Event,
    cancelled: Sequence[Event],
    before_sleep: Callable[[RetryCallState], None],
) -> Retrying:
    """Build the policy of one run, whose last attempt begins before `latest_start`.

    `stopped` also wakes a wait; after any of `cancelled` no attempt follows. The last attempt's error is raised.
    """
    # a person at a terminal is not kept waiting for the whole slot
    most = _COMMAND_ATTEMPTS if origin is Origin.COMMAND else UNLIMITED_ATTEMPTS
    return Retrying(
        retry=retry_if_exception(_repeatable),
        stop=stop_any(
            *(stop_when_event_set(event) for event in (stopped, *cancelled)),
            stop_after_attempt(most),
            _StopByClass(),
            _StopBefore(latest_start, monotonic),
        ),
        wait=RETRY_WAIT,
        sleep=sleep_using_event(stopped),
        before_sleep=before_sleep,
        reraise=True,
    )


def fault_of(state: RetryCallState) -> DatabaseFault:
    """Return the fault of a failed attempt.

    `_repeatable` lets no other error through.
    """
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, DatabaseFault):
        raise AssertionError("a retry without a fault")
    return error


class _StopByClass(stop_base):
    """Stops after as many attempts as the last fault's class may have."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        return retry_state.attempt_number >= most_attempts(fault_of(retry_state).error_class)


class _StopBefore(stop_base):
    """Stops where the next attempt would begin too late, by the caller's clock."""

    def __init__(self, latest_start: float, monotonic: Callable[[], float]) -> None:
        self._latest_start = latest_start
        self._monotonic = monotonic

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._monotonic() + retry_state.upcoming_sleep >= self._latest_start


def _repeatable(error: BaseException) -> bool:
    """Whether another attempt may follow: not after a defect, nor where another session refreshes."""
    return isinstance(error, DatabaseFault) and error.reason is not Reason.OVERLAP
