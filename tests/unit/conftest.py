"""Replicas that share a database, which tests of leading and following start from."""

import pytest

from tests.support.fakes import FakeClock
from tests.support.replicas import Replica, Shared, started


@pytest.fixture
def clock() -> FakeClock:
    """The clock of one database's replicas."""
    return FakeClock()


@pytest.fixture
def database(clock: FakeClock) -> Shared:
    """What the replicas of one database share."""
    return Shared(clock)


@pytest.fixture
def leader(database: Shared) -> Replica:
    """A replica that leads and has evaluated once."""
    return started(database, "one")
