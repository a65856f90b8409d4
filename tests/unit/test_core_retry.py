"""When to try again, and when not to."""

import pytest

from analytics_refreshd.core.errors import ErrorClass
from analytics_refreshd.core.retry import UNLIMITED_ATTEMPTS, most_attempts, worth_waiting


def test_every_class_has_its_number() -> None:
    """No error class is left to chance."""
    assert all(most_attempts(error_class) >= 1 for error_class in ErrorClass)


@pytest.mark.parametrize(
    ("error_class", "attempts"),
    [
        (ErrorClass.CONNECT, UNLIMITED_ATTEMPTS),
        (ErrorClass.CONN_LOST, 3),
        (ErrorClass.NOT_PRIMARY, 3),
        (ErrorClass.CONTENTION, 2),
        (ErrorClass.CANCELLED, 1),
        (ErrorClass.RESOURCE, 1),
        (ErrorClass.PERMANENT, 1),
    ],
)
def test_attempts_by_class(error_class: ErrorClass, attempts: int) -> None:
    """Connecting is tried without end, a lost connection twice again, contention once; the rest waits for its slot."""
    assert most_attempts(error_class) == attempts


@pytest.mark.parametrize(
    ("error_class", "seconds"),
    [
        (ErrorClass.CONNECT, 1e9),
        (ErrorClass.CONN_LOST, 1e9),
        (ErrorClass.NOT_PRIMARY, 1e9),
        (ErrorClass.CONTENTION, 60.0),
        (ErrorClass.RESOURCE, 60.0),
        (ErrorClass.CANCELLED, 60.0),
        (ErrorClass.PERMANENT, 0.0),
    ],
)
def test_a_store_is_waited_for_by_class(error_class: ErrorClass, seconds: float) -> None:
    """While the database is away without end, where it is locked for a minute, and in vain not at all."""
    assert worth_waiting(error_class, waited_seconds=seconds - 0.1) is (seconds > 0)
    assert worth_waiting(error_class, waited_seconds=seconds) is (seconds > 60)
