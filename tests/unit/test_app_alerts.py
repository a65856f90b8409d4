"""What fires on which replica, who tells of it, and who tells of its end."""

import pytest

from analytics_refreshd.core.alerting import Alert, AlertState
from tests.support.receivers import Clock
from tests.support.replicas import LOCKED, Database, Replica, time_passes

RATE = (Alert.LOW_SUCCESS_RATE, "")
FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(clock: Clock) -> Database:
    return Database(clock)


@pytest.fixture
def leader(database: Database) -> Replica:
    """A replica that leads and has evaluated once."""
    return started(database, "one")


@pytest.fixture
def standby(database: Database, leader: Replica) -> Replica:
    """One that waits, with a leader beside it."""
    replica = started(database, "two")
    assert (leader.memory.leads(), replica.memory.leads()) == (True, False)
    return replica


def started(database: Database, name: str) -> Replica:
    replica = Replica(database, name)
    replica.beat()
    replica.evaluate()
    return replica


def test_a_record_whose_removal_failed_is_removed_later(clock: Clock, database: Database, leader: Replica) -> None:
    """A resolved record is over just when the store cannot be written: it is removed when it can."""
    database.success_rate = 50.0
    time_passes(clock, [leader], seconds=30)
    database.success_rate = 100.0
    time_passes(clock, [leader], seconds=30)
    assert database.records[RATE].state is RESOLVED
    time_passes(clock, [leader], seconds=14 * 60)
    database.alerts_fault = LOCKED
    time_passes(clock, [leader], seconds=2 * 60)
    assert RATE not in leader.memory.alerts()
    assert RATE in database.records
    database.alerts_fault = None
    time_passes(clock, [leader], seconds=30)
    assert RATE not in database.records
