"""When to try again: by error class and inside the slot. Delays only; the waiting is the caller's."""

from analytics_refreshd.core.errors import ErrorClass

CONNECT_CAP_SECONDS = 60.0
UNLIMITED_ATTEMPTS = 1_000_000
"""More than any slot has room for."""
_FIRST_SECONDS = 1.0
_STORE_SECONDS = 60.0
_MOST_ATTEMPTS = {
    ErrorClass.CONNECT: UNLIMITED_ATTEMPTS,
    # a lost COMMIT too: to refresh again is harmless, and settles what became of it
    ErrorClass.CONN_LOST: 3,
    ErrorClass.NOT_PRIMARY: 3,
    ErrorClass.CONTENTION: 2,
    ErrorClass.CANCELLED: 1,
    ErrorClass.RESOURCE: 1,
    ErrorClass.PERMANENT: 1,
}


def backoff_seconds(attempt: int, share: float, *, cap_seconds: float = CONNECT_CAP_SECONDS) -> float:
    """Exponential backoff with jitter: `attempt` counts from 1, `share` is a random number in [0, 1).

    Never under half a second, so that a database that comes back is not hammered.
    """
    ceiling = min(cap_seconds, _FIRST_SECONDS * 2.0 ** min(attempt, 16))
    return max(0.5, ceiling / 2 + share * ceiling / 2)


def most_attempts(error_class: ErrorClass) -> int:
    """How many attempts one run may have, the first included. Connecting is tried for as long as the slot lasts."""
    return _MOST_ATTEMPTS[error_class]


def may_retry(error_class: ErrorClass, *, attempt: int, delay_seconds: float, remaining_seconds: float) -> bool:
    """Whether attempt number `attempt` may be followed by another within what remains of the slot."""
    return attempt < most_attempts(error_class) and delay_seconds < remaining_seconds


def worth_waiting(error_class: ErrorClass, *, waited_seconds: float) -> bool:
    """Whether to go on waiting for what is stored about alerts, before what this process knows must do.

    For as long as the database is away. Where it answers and the store alone does not, for a minute, as it may be
    locked, and not at all where that mends nothing, as for want of a grant: two pages are better than none.
    """
    if error_class.away:
        return True
    return error_class is not ErrorClass.PERMANENT and waited_seconds < _STORE_SECONDS
