"""How often and how long to try again, by error class."""

from analytics_refreshd.core.errors import ErrorClass

UNLIMITED_ATTEMPTS = 1_000_000
"""More than any slot has room for."""
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


def most_attempts(error_class: ErrorClass) -> int:
    """Return how many attempts one run may have, the first included.

    Connecting is tried for as long as the slot lasts.
    """
    return _MOST_ATTEMPTS[error_class]


def worth_waiting(error_class: ErrorClass, *, waited_seconds: float) -> bool:
    """Whether to wait longer for the stored alerts.

    The alternative is to use what this process knows.
    Yes while the database is away. Where it answers and only the store fails, yes for a minute, because the store may
    be locked; but no where waiting fixes nothing, as for a missing grant: two pages are better than none.
    """
    if error_class.away:
        return True
    return error_class is not ErrorClass.PERMANENT and waited_seconds < _STORE_SECONDS
