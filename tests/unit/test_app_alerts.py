"""What fires on which replica, who tells of it, and who tells of its end."""

import pytest

from analytics_refreshd.core.alerting import Alert, AlertState
from analytics_refreshd.core.events import Event
from tests.support.receivers import Clock
from tests.support.replicas import LOCKED, POOLER, Database, Replica, time_passes

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


def test_a_problem_that_the_election_met_is_over_with_the_next_good_answer(
    clock: Clock, database: Database, leader: Replica, standby: Replica
) -> None:
    """A standby that met a pooler once shows it until its session is a direct one, and pages nobody as new leader."""
    standby.lock.fault = POOLER
    time_passes(clock, [leader, standby], seconds=60)
    assert standby.memory.state().problems == (POOLER.message,)
    assert (Alert.CONTRACT_BROKEN, "") in standby.memory.alerts()
    standby.lock.fault = None
    time_passes(clock, [leader, standby], seconds=60)
    assert standby.memory.state().problems == ()
    assert standby.memory.alerts() == {}
    database.holder = None
    time_passes(clock, [standby], seconds=60)
    assert standby.memory.leads()
    assert standby.told == []


def test_who_takes_over_reads_anew_who_was_told_what(
    clock: Clock, database: Database, leader: Replica, standby: Replica
) -> None:
    """Once at the beginning of a lead, and at every evaluation of a standby, which may have to speak at any moment."""
    before = leader.notifier.adopted, standby.notifier.adopted
    time_passes(clock, [leader, standby], seconds=60)
    assert (leader.notifier.adopted, standby.notifier.adopted) == (before[0], before[1] + 2)
    leader.alerts.forget_adoption()
    time_passes(clock, [leader, standby], seconds=60)
    assert leader.notifier.adopted == before[0] + 1


def test_every_replica_shows_its_receivers(clock: Clock, database: Database, leader: Replica) -> None:
    """From the first moment, on a standby, and on a leader that cannot judge yet."""
    other = Replica(database, "two")
    assert other.memory.state().delivery == {"pager": "nothing was sent yet"}
    other.notifier.state = "delivered"
    time_passes(clock, [leader, other], seconds=30)
    assert other.memory.state().delivery == {"pager": "delivered"}
    database.holder, database.alerts_fault = None, LOCKED
    other.notifier.state = "failing"
    time_passes(clock, [other], seconds=30)
    assert other.memory.leads()
    assert other.memory.state().delivery == {"pager": "failing"}


def test_a_view_that_left_the_configuration_resolves_and_is_told_of_like_any_other(
    clock: Clock, database: Database, leader: Replica
) -> None:
    """The resolution is handed over for a quarter of an hour, as a receiver may be away at first."""
    stale = (Alert.VIEW_STALE, "v")
    database.view_age_seconds = 3600.0
    time_passes(clock, [leader], seconds=30)
    assert leader.told == [(Alert.VIEW_STALE, FIRING)]
    leader.memory.update(views=())
    time_passes(clock, [leader], seconds=30)
    assert leader.told == [(Alert.VIEW_STALE, RESOLVED)]
    time_passes(clock, [leader], seconds=14 * 60)
    assert leader.told == [(Alert.VIEW_STALE, RESOLVED)]
    assert database.records[stale].state is RESOLVED
    time_passes(clock, [leader], seconds=60)
    assert leader.told == []
    assert database.records == {}
    assert len(leader.log.of(Event.ALERT_RESOLVED)) == 1
