"""When to try again, and when not to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.errors import ErrorClass
from analytics_refreshd.core.retry import UNLIMITED_ATTEMPTS, backoff_seconds, may_retry, most_attempts, worth_waiting


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0.1, 300))
def test_a_delay_grows_to_its_cap_and_never_hammers(attempt: int, share: float, cap: float) -> None:
    """Every delay is at least half a second and at most the cap, and with the usual cap at least a second."""
    delay = backoff_seconds(attempt, share, cap_seconds=cap)
    assert 0.5 <= delay <= max(0.5, cap)
    assert backoff_seconds(attempt, share) >= 1.0
    assert backoff_seconds(attempt + 1, share) >= backoff_seconds(attempt, share)


def test_delays_differ_between_replicas() -> None:
    """Jitter covers the upper half of the backoff: 32 to 60 seconds in the end."""
    assert backoff_seconds(20, 0.0) == 30.0
    assert backoff_seconds(20, 0.999999) == pytest.approx(60.0, abs=0.01)
    assert [backoff_seconds(attempt, 0.0) for attempt in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 8.0]


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
    assert not may_retry(error_class, attempt=attempts, delay_seconds=0.0, remaining_seconds=1e9)
    assert may_retry(error_class, attempt=1, delay_seconds=1.0, remaining_seconds=10.0) is (attempts > 1)


def test_a_retry_fits_into_what_remains_of_the_slot() -> None:
    """No chain of retries runs into the next slot."""
    assert may_retry(ErrorClass.CONN_LOST, attempt=1, delay_seconds=9.9, remaining_seconds=10.0)
    assert not may_retry(ErrorClass.CONN_LOST, attempt=1, delay_seconds=10.0, remaining_seconds=10.0)
    assert not may_retry(ErrorClass.CONNECT, attempt=1, delay_seconds=1.0, remaining_seconds=-5.0)


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
