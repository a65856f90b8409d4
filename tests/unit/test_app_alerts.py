"""What fires on which replica, who tells of it, and who tells of its end."""

from dataclasses import replace
from datetime import datetime

import pytest

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import LeaderInfo
from tests.support.fakes import FakeClock
from tests.support.replicas import LOCKED, NO_GRANT, POOLER, Replica, Shared, started, time_passes

RATE = (Alert.LOW_SUCCESS_RATE, "")
FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED


@pytest.fixture
def standby(database: Shared, leader: Replica) -> Replica:
    """One that waits, with a leader beside it."""
    replica = started(database, "two")
    assert (leader.state.leads(), replica.state.leads()) == (True, False)
    return replica


def key(record: AlertRecord) -> tuple[Alert, datetime]:
    """What receivers tell episodes apart by."""
    return record.alert, record.active_at


def test_a_standby_tells_of_the_absent_database_alone(
    clock: FakeClock, database: Shared, leader: Replica, standby: Replica
) -> None:
    """It shows what fires, and while the database is away repeats none of it; its own page comes after twice the
    time, while the last leader goes on with what it told and holds it back once the database's absence fires."""
    database.success_rate = 50.0
    time_passes(clock, [leader, standby], seconds=60)
    assert RATE in standby.state.current.alerts
    database.away = True
    time_passes(clock, [leader, standby], seconds=120)
    assert leader.told == [(Alert.LOW_SUCCESS_RATE, FIRING)]
    time_passes(clock, [leader, standby], seconds=60)
    assert leader.told == [(Alert.DATABASE_UNAVAILABLE, FIRING)]
    assert leader.inhibited == [Alert.LOW_SUCCESS_RATE]
    assert standby.notifier.handed_over == 0
    time_passes(clock, [leader, standby], seconds=120)
    assert (standby.told, standby.inhibited) == ([(Alert.DATABASE_UNAVAILABLE, FIRING)], [])
    assert [line["alert"] for line in standby.log.of(Event.ALERT_FIRING)] == ["AnalyticsDatabaseUnavailable"]


def test_L29_an_alert_that_becomes_critical_is_logged(clock: FakeClock, database: Shared, leader: Replica) -> None:
    """Once, with the severity that it has now; the alert goes on under its key."""
    database.view_age_seconds = 700.0
    time_passes(clock, [leader], seconds=90)
    (fired,) = leader.log.of(Event.ALERT_FIRING)
    assert (fired["alert"], fired["severity"], leader.log.of(Event.ALERT_ESCALATED)) == (
        "AnalyticsViewStale",
        "warning",
        [],
    )
    database.view_age_seconds = 1300.0
    time_passes(clock, [leader], seconds=90)
    (worse,) = leader.log.of(Event.ALERT_ESCALATED)
    assert (worse["alert"], worse["severity"], worse["level"]) == ("AnalyticsViewStale", "critical", "warning")
    assert worse["active_at"] == fired["active_at"]
    assert len(leader.log.of(Event.ALERT_FIRING)) == 1


def test_L15_on_an_older_install_a_replica_ends_what_it_told_when_another_one_leads(clock: FakeClock) -> None:
    """Nobody stores its alerts, so the new leader cannot end them; what still holds that one raises itself."""
    database = Shared(clock, remembers=False)
    database.success_rate = 50.0
    first, second = started(database, "one"), started(database, "two")
    first.refresh()
    time_passes(clock, [first, second], seconds=60)
    ((alert, began),) = [key(record) for record in first.notifier.told]
    database.holder = LeaderInfo("two", 1)
    time_passes(clock, [first, second], seconds=60)
    assert (first.state.leads(), second.state.leads()) == (False, True)
    assert first.told == [(alert, RESOLVED)]
    assert key(first.notifier.told[0]) == (alert, began)
    assert len(first.log.of(Event.ALERT_RESOLVED)) == 1
    assert (alert, FIRING) in second.told
    time_passes(clock, [first, second], seconds=16 * 60)
    assert first.told == []
    assert [line["alert"] for line in second.log.of(Event.ALERT_FIRING)].count(alert) == 1


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("still_led", [True, False], ids=["by one that leads", "by one that was lost, too"])
def test_L11_a_leader_that_was_replaced_and_does_not_know_it_tells_nothing(
    clock: FakeClock, remembers: bool, still_led: bool
) -> None:
    """Both would tell of one trouble, under two keys, and nobody would end what the earlier one told of."""
    database = Shared(clock, remembers=remembers)
    first, second = started(database, "one"), started(database, "two")
    first.refresh()
    clock.pass_by(60.0)
    first.beat()
    database.success_rate = 50.0
    # the server has ended the first one's session
    database.holder = LeaderInfo("two", 1)
    second.beat()
    second.refresh()
    second.evaluate()
    if not still_led:
        database.holder = None
    for replica in (first, second, first):
        replica.evaluate()
    assert (first.state.leads(), second.state.leads()) == (True, True)
    assert [line["alert"] for line in second.log.of(Event.ALERT_FIRING)] == [Alert.LOW_SUCCESS_RATE]
    assert (first.told, first.log.of(Event.ALERT_FIRING)) == ([], [])
    assert first.beat_asked_for
    assert not second.beat_asked_for
    database.holder = LeaderInfo("two", 1)
    time_passes(clock, [first, second], seconds=60)
    assert (first.state.leads(), first.told, first.log.of(Event.ALERT_RESOLVED)) == (False, [], [])


@pytest.mark.parametrize("remembers", [True, False])
def test_L11_what_a_replica_saw_without_the_lead_it_does_not_tell(clock: FakeClock, remembers: bool) -> None:
    """A server that hangs ends the lead first, and is known to be away later: in between the views grow old.

    Nobody was told of that, so once the outage is this replica's to tell it begins nothing without a line in the log.
    """
    database = Shared(clock, remembers=remembers)
    leader = started(database, "one")
    leader.refresh()
    time_passes(clock, [leader], seconds=30)
    database.holder, database.alerts_fault = None, LOCKED
    leader.lock.fault = POOLER
    leader.beat()
    assert not leader.state.leads()
    clock.pass_by(900.0)
    database.view_age_seconds = 900.0
    leader.evaluate()
    assert (leader.told, leader.log.of(Event.ALERT_FIRING)) == ([], [])
    database.away = True
    time_passes(clock, [leader], seconds=30)
    assert [alert for alert, _ in leader.told] == []
    database.away, database.alerts_fault, leader.lock.fault = False, None, None
    time_passes(clock, [leader], seconds=30)
    assert leader.state.leads()
    told = {(record.alert.value, record.active_at) for record in leader.notifier.told}
    assert told == {(line["alert"], line["active_at"]) for line in leader.log.of(Event.ALERT_FIRING)}


def test_a_standby_tells_of_the_end_of_what_it_told(
    clock: FakeClock, database: Shared, leader: Replica, standby: Replica
) -> None:
    """Whoever leads after the outage, each replica resolves its own page under its own key, and then falls silent."""
    database.away = True
    time_passes(clock, [leader, standby], seconds=300)
    pages = {replica: key(replica.notifier.told[0]) for replica in (leader, standby)}
    assert len(set(pages.values())) == 2
    database.away = False
    time_passes(clock, [leader, standby], seconds=30)
    assert (leader.state.leads(), standby.state.leads()) == (True, False)
    for replica in (leader, standby):
        time_passes(clock, [leader, standby], seconds=60)
        assert replica.told == [(Alert.DATABASE_UNAVAILABLE, RESOLVED)]
        assert key(replica.notifier.told[0]) == pages[replica]
        assert len(replica.log.of(Event.ALERT_RESOLVED)) == 1
    time_passes(clock, [leader, standby], seconds=15 * 60)
    calls = standby.notifier.handed_over
    database.holder = None
    time_passes(clock, [standby, leader], seconds=60)
    assert standby.state.leads()
    assert standby.told == leader.told == []
    assert standby.notifier.handed_over > calls
    assert len(standby.log.of(Event.ALERT_RESOLVED)) == 1
    assert database.records == {}


def test_a_standby_that_leads_after_the_outage_resolves_its_own_page(
    clock: FakeClock, database: Shared, leader: Replica, standby: Replica
) -> None:
    """Its record goes into the store; the last leader, now a standby, still tells of the end of its own."""
    database.away = True
    time_passes(clock, [leader, standby], seconds=300)
    pages = {replica: key(replica.notifier.told[0]) for replica in (leader, standby)}
    database.away, database.holder = False, None
    time_passes(clock, [standby, leader], seconds=30)
    assert (leader.state.leads(), standby.state.leads()) == (False, True)
    for replica in (leader, standby):
        assert replica.told == [(Alert.DATABASE_UNAVAILABLE, RESOLVED)]
        assert key(replica.notifier.told[0]) == pages[replica]
    assert key(database.records[Alert.DATABASE_UNAVAILABLE, ""]) == pages[standby]


def test_an_alert_that_was_told_and_could_not_be_stored_is_resolved_by_who_told_it(
    clock: FakeClock, database: Shared, leader: Replica, standby: Replica
) -> None:
    """Nobody else knows that episode, though the next leader raises the same alert for itself."""
    database.alerts_fault = LOCKED
    database.success_rate = 50.0
    time_passes(clock, [leader], seconds=30)
    assert leader.told == [(Alert.LOW_SUCCESS_RATE, FIRING)]
    page = key(leader.notifier.told[0])
    database.holder, database.alerts_fault = None, None
    time_passes(clock, [standby, leader], seconds=60)
    assert (leader.state.leads(), standby.state.leads()) == (False, True)
    assert key(database.records[RATE]) != page
    database.success_rate = 100.0
    time_passes(clock, [standby, leader], seconds=30)
    assert leader.told == [(Alert.LOW_SUCCESS_RATE, RESOLVED)]
    assert key(leader.notifier.told[0]) == page
    time_passes(clock, [standby, leader], seconds=16 * 60)
    calls = leader.notifier.handed_over
    time_passes(clock, [standby, leader], seconds=60)
    assert leader.notifier.handed_over == calls


def test_what_a_lost_leader_could_not_store_of_a_stored_alert_is_void(
    clock: FakeClock, database: Shared, leader: Replica, standby: Replica
) -> None:
    """It took the alert for resolved and could not store that; the next leader sees it fire on, and that counts."""
    database.success_rate = 50.0
    time_passes(clock, [leader, standby], seconds=30)
    database.alerts_fault, database.success_rate = LOCKED, 100.0
    time_passes(clock, [leader], seconds=30)
    assert leader.state.current.alerts[RATE].state is RESOLVED
    database.holder, database.alerts_fault, database.success_rate = None, None, 50.0
    time_passes(clock, [standby, leader], seconds=30)
    assert (leader.state.leads(), standby.state.leads()) == (False, True)
    assert database.records[RATE].state is FIRING
    assert leader.state.current.alerts[RATE] == database.records[RATE]
    assert leader.told == []


def test_without_a_leader_each_replica_tells_of_that_alone(
    clock: FakeClock, database: Shared, leader: Replica, standby: Replica
) -> None:
    """A stranger holds the lock: what fires is held back and not forgotten, and a leader ends it for each."""
    database.success_rate = 50.0
    time_passes(clock, [leader, standby], seconds=60)
    database.holder = LeaderInfo("curious", 9, ours=False)
    time_passes(clock, [leader, standby], seconds=60)
    for replica in (leader, standby):
        assert (replica.told, replica.inhibited) == ([], [Alert.LOW_SUCCESS_RATE])
    time_passes(clock, [leader, standby], seconds=600)
    for replica in (leader, standby):
        assert (replica.told, replica.inhibited) == ([(Alert.NO_LEADER, FIRING)], [Alert.LOW_SUCCESS_RATE])
        assert len(replica.log.of(Event.ALERT_PENDING)) == 1
    database.holder = None
    time_passes(clock, [leader, standby], seconds=30)
    assert sorted(leader.told) == [(Alert.LOW_SUCCESS_RATE, FIRING), (Alert.NO_LEADER, RESOLVED)]
    assert (standby.told, standby.inhibited) == ([(Alert.NO_LEADER, RESOLVED)], [])


def test_what_the_election_is_refused_for_is_told_where_nobody_leads(clock: FakeClock, database: Shared) -> None:
    """Behind a pooler nobody can lead: that is told all the same, and its end."""
    replica = Replica(database, "one")
    replica.lock.fault = POOLER
    time_passes(clock, [replica], seconds=60)
    assert replica.told == [(Alert.CONTRACT_BROKEN, FIRING)]
    replica.lock.fault = None
    time_passes(clock, [replica], seconds=30)
    assert replica.state.leads()
    assert (Alert.CONTRACT_BROKEN, RESOLVED) in replica.told


def test_a_lead_that_is_lost_and_won_again_loses_nothing(clock: FakeClock, database: Shared, leader: Replica) -> None:
    """A change that could not be stored when the database went away is stored after it, though an evaluation that
    comes before the election finds no leader."""
    database.success_rate = 50.0
    time_passes(clock, [leader], seconds=30)
    database.alerts_fault, database.success_rate = LOCKED, 100.0
    time_passes(clock, [leader], seconds=30)
    assert leader.told == [(Alert.LOW_SUCCESS_RATE, RESOLVED)]
    database.away = True
    time_passes(clock, [leader], seconds=60)
    database.away, database.alerts_fault = False, None
    leader.evaluate()
    assert not leader.state.leads()
    time_passes(clock, [leader], seconds=30)
    assert database.records[RATE].state is RESOLVED
    assert len(leader.log.of(Event.ALERT_RESOLVED)) == 1


def test_a_record_whose_removal_failed_is_removed_later(clock: FakeClock, database: Shared, leader: Replica) -> None:
    """A resolved record is over just when the store cannot be written: it is removed when it can."""
    database.success_rate = 50.0
    time_passes(clock, [leader], seconds=30)
    database.success_rate = 100.0
    time_passes(clock, [leader], seconds=30)
    assert database.records[RATE].state is RESOLVED
    time_passes(clock, [leader], seconds=14 * 60)
    database.alerts_fault = LOCKED
    time_passes(clock, [leader], seconds=2 * 60)
    assert RATE not in leader.state.current.alerts
    assert RATE in database.records
    database.alerts_fault = None
    time_passes(clock, [leader], seconds=30)
    assert RATE not in database.records


def test_a_problem_that_the_election_met_is_over_with_the_next_good_answer(
    clock: FakeClock, database: Shared, leader: Replica, standby: Replica
) -> None:
    """A standby that met a pooler once shows it until its session is a direct one, and pages nobody as new leader."""
    standby.lock.fault = POOLER
    time_passes(clock, [leader, standby], seconds=60)
    assert list(standby.state.current.contract_problems) == [POOLER.message]
    assert (Alert.CONTRACT_BROKEN, "") in standby.state.current.alerts
    standby.lock.fault = None
    time_passes(clock, [leader, standby], seconds=60)
    assert list(standby.state.current.contract_problems) == []
    assert standby.state.current.alerts == {}
    database.holder = None
    time_passes(clock, [standby], seconds=60)
    assert standby.state.leads()
    assert standby.told == []


def test_who_takes_over_reads_anew_who_was_told_what(
    clock: FakeClock, database: Shared, leader: Replica, standby: Replica
) -> None:
    """Once at the beginning of a lead, and at every evaluation of a standby, which may have to speak at any moment."""
    before = leader.notifier.invalidated, standby.notifier.invalidated
    time_passes(clock, [leader, standby], seconds=60)
    assert (leader.notifier.invalidated, standby.notifier.invalidated) == (before[0], before[1] + 2)
    leader.alerts.invalidate()
    time_passes(clock, [leader, standby], seconds=60)
    assert leader.notifier.invalidated == before[0] + 1


@pytest.mark.parametrize(("fault", "patience"), [(LOCKED, 60), (NO_GRANT, 0)])
def test_a_leader_whose_store_alone_cannot_be_read_alerts_all_the_same(
    clock: FakeClock, database: Shared, fault: DatabaseFault, patience: int
) -> None:
    """It waits for what fires already to be read, for a minute at most: an alert twice is better than none."""
    database.alerts_fault = fault
    database.success_rate = 50.0
    replica = started(database, "one")
    assert replica.state.leads()
    assert bool(replica.told) is (patience == 0)
    time_passes(clock, [replica], seconds=patience)
    assert replica.told == [(Alert.LOW_SUCCESS_RATE, FIRING)]
    database.alerts_fault = None
    time_passes(clock, [replica], seconds=30)
    assert database.records[RATE].state is FIRING
    assert len(replica.log.of(Event.ALERT_FIRING)) == 1


def test_a_leader_that_never_read_what_fires_is_not_in_charge_of_it(
    clock: FakeClock, database: Shared, leader: Replica, standby: Replica
) -> None:
    """It has just taken over when the database goes away: it repeats nothing, and pages the outage alone."""
    database.success_rate = 50.0
    time_passes(clock, [leader, standby], seconds=30)
    database.holder, database.alerts_fault = None, LOCKED
    time_passes(clock, [standby], seconds=30)
    assert standby.state.leads()
    database.away = True
    calls = standby.notifier.handed_over
    time_passes(clock, [standby], seconds=60)
    assert standby.notifier.handed_over == calls
    time_passes(clock, [standby], seconds=90)
    assert (standby.told, standby.inhibited) == ([(Alert.DATABASE_UNAVAILABLE, FIRING)], [])


def test_every_replica_shows_its_receivers(clock: FakeClock, database: Shared, leader: Replica) -> None:
    """From the first moment, on a standby, and on a leader that cannot judge yet."""
    other = Replica(database, "two")
    assert other.state.current.delivery == {"pager": "nothing was sent yet"}
    other.notifier.state = "delivered"
    time_passes(clock, [leader, other], seconds=30)
    assert other.state.current.delivery == {"pager": "delivered"}
    database.holder, database.alerts_fault = None, LOCKED
    other.notifier.state = "failing"
    time_passes(clock, [other], seconds=30)
    assert other.state.leads()
    assert other.state.current.delivery == {"pager": "failing"}


def test_a_view_that_left_the_configuration_resolves_and_is_told_of_like_any_other(
    clock: FakeClock, database: Shared, leader: Replica
) -> None:
    """The resolution is handed over for a quarter of an hour, as a receiver may be away at first."""
    stale = (Alert.VIEW_STALE, "v")
    database.view_age_seconds = 3600.0
    time_passes(clock, [leader], seconds=30)
    assert leader.told == [(Alert.VIEW_STALE, FIRING)]
    leader.state.change(lambda state: replace(state, views=()))
    time_passes(clock, [leader], seconds=30)
    assert leader.told == [(Alert.VIEW_STALE, RESOLVED)]
    time_passes(clock, [leader], seconds=14 * 60)
    assert leader.told == [(Alert.VIEW_STALE, RESOLVED)]
    assert database.records[stale].state is RESOLVED
    time_passes(clock, [leader], seconds=60)
    assert leader.told == []
    assert database.records == {}
    assert len(leader.log.of(Event.ALERT_RESOLVED)) == 1
