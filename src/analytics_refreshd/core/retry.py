"""How often and how long to try again, by error class."""

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass

UNLIMITED_ATTEMPTS = 1_000_000
"""More than any slot has room for."""
_STORE_SECONDS = 60.0
_MOST_ATTEMPTS = {
    ErrorClass.CONNECT: UNLIMITED_ATTEMPTS,
    # also after a lost COMMIT: another refresh does no harm, and it is certain then that the view is refreshed
    ErrorClass.CONN_LOST: 3,
    ErrorClass.NOT_PRIMARY: 3,
    ErrorClass.CONTENTION: 2,
    ErrorClass.CANCELLED: 1,
    ErrorClass.RESOURCE: 1,
    ErrorClass.PERMANENT: 1,
}


def most_attempts(error_class: ErrorClass) -> int:
    """Return how many attempts one run may have, including the first.

    Connecting is tried for as long as the slot lasts.
    """
    return _MOST_ATTEMPTS[error_class]


def refuses_one_record(error: Exception) -> bool:
    """Tell whether a store may have refused one record alone.

    Waiting for a lock, or for the server, would be the same for each.
    """
    return not isinstance(error, DatabaseFault) or error.error_class is ErrorClass.PERMANENT


def worth_waiting(error_class: ErrorClass, *, waited_seconds: float) -> bool:
    """Return whether to wait longer for the stored alert state.

    After the wait, the process uses what it knows itself. It waits as long as the database is away. If the database
    answers and only the table does not, it waits a minute, because the table may be locked. If waiting cannot help, as
    with a missing grant, it does not wait: two pages are better than none.
    """
    if error_class.away:
        return True
    return error_class is not ErrorClass.PERMANENT and waited_seconds < _STORE_SECONDS
