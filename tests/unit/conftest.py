"""Properties are judged by their examples, not by how busy the machine is."""

import pytest
from hypothesis import settings

from tests.support.examples import examples
from tests.support.fakes import FakeClock
from tests.support.replicas import Replica, Shared, started

settings.register_profile("untimed", deadline=None, max_examples=examples(100))
settings.load_profile("untimed")


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
