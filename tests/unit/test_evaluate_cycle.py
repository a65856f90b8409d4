"""One failure ends no evaluation: the other parts are read, evaluated, stored and told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from analytics_refreshd.core.alerts import rules
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertState
from analytics_refreshd.core.delta import Delta
from analytics_refreshd.core.errors import OutOfTimeFault
from analytics_refreshd.core.evaluating import deadline_seconds, hung_seconds, stuck_seconds
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Progress, ViewStatus
from tests.support.fakes import FakeClock
from tests.support.replicas import LOCKED, NO_GRANT, Replica, Shared, started, time_passes

FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED
RATE = (Alert.LOW_SUCCESS_RATE, FIRING)
STALE = (Alert.VIEW_STALE, FIRING)
STUCK = Alert.EVALUATION_STUCK
BUG = RuntimeError("a defect")


def raising(error: Exception) -> Callable[..., Any]:
    def work(*given: object, **named: object) -> None:
        raise error

    return work


@pytest.mark.fault
@pytest.mark.parametrize("error", [BUG, NO_GRANT, LOCKED], ids=["a defect", "a grant", "a lock"])
@pytest.mark.parametrize("part", ["pause", "leader", "progress", "delta", "rates", "runs"])
def test_L11_a_part_that_cannot_be_read_ends_no_evaluation(
    clock: FakeClock, database: Shared, leader: Replica, part: str, error: Exception
) -> None:
    """What fires is told all the same; the part is counted each time, and named in the log once."""
    if part == "progress":
        leader.state.change(lambda state: replace(state, leadership=replace(state.leadership, trusted_until=0.0)))
    target, name = (leader.history, "recent") if part == "runs" else (database, part)
    setattr(target, name, raising(error))
    database.view_age_seconds = 5000.0
    for _ in range(3):
        clock.pass_by(30.0)
        if part != "progress":
            leader.beat()
        leader.evaluate()
    assert (Alert.VIEW_STALE, "v") in leader.state.current.alerts
    assert [line["part"] for line in leader.log.of(Event.PART_FAILED)] == [part]
    assert leader.metrics.calls.count("analytics_part_failures_total") == 3
    delattr(target, name)
    clock.pass_by(300.0)  # the figures are read again then, whether or not the views have moved
    leader.evaluate()
    setattr(target, name, raising(error))
    clock.pass_by(300.0)
    leader.evaluate()
    assert len(leader.log.of(Event.PART_FAILED)) == 2


@pytest.mark.fault
def test_L11_a_status_that_cannot_be_read_ends_no_evaluation(
    clock: FakeClock, database: Shared, leader: Replica
) -> None:
    """The other figures are read, and the ages go on from what was read last."""
    database.read = raising(NotImplementedError("can't parse"))  # type: ignore[method-assign]
    database.success_rate = 50.0
    time_passes(clock, [leader], seconds=1800)
    assert STALE in leader.told
    assert RATE in leader.told
    assert [line["part"] for line in leader.log.of(Event.PART_FAILED)] == ["status"]


@pytest.mark.fault
def test_L16_the_part_that_took_all_the_time_stands_for_those_after_it(database: Shared, leader: Replica) -> None:
    """A server that hangs is one line of the log and one sentence of the page; every part is counted."""
    known = leader.metrics.calls.count("analytics_part_failures_total")
    database.read = raising(LOCKED)  # type: ignore[method-assign]
    for name in ("pause", "leader", "delta"):
        setattr(database, name, raising(OutOfTimeFault()))
    leader.evaluate()
    assert [line["part"] for line in leader.log.of(Event.PART_FAILED)] == ["status"]
    assert leader.metrics.calls.count("analytics_part_failures_total") == known + 4
    assert leader.state.current.unread == (
        "delta, leader, pause: the database took all the time that there was",
        "status: lock timeout",
    )


@pytest.mark.fault
def test_L11_a_rule_that_raises_silences_no_other(
    clock: FakeClock, database: Shared, leader: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own alert stays as it is; the others fire."""
    database.view_age_seconds = 5000.0
    database.success_rate = 50.0
    time_passes(clock, [leader], seconds=60)
    assert {STALE, RATE} <= set(leader.told)
    monkeypatch.setattr(rules, "_RULES", {**rules._RULES, Alert.LOW_SUCCESS_RATE: raising(OverflowError("year"))})
    database.view_age_seconds, database.success_rate = 1.0, 100.0
    time_passes(clock, [leader], seconds=60)
    assert (Alert.VIEW_STALE, RESOLVED) in leader.told
    assert RATE in leader.told
    assert [line["part"] for line in leader.log.of(Event.PART_FAILED)] == ["alerts"]


@pytest.mark.fault
@pytest.mark.parametrize("error", [NO_GRANT, UnicodeEncodeError("latin-1", "x", 0, 1, "no")], ids=["refused", "defect"])
def test_L11_an_alert_that_cannot_be_stored_is_told(
    clock: FakeClock, database: Shared, leader: Replica, error: Exception
) -> None:
    """It is told, and the other alerts are told and stored; it is stored once the store takes it."""
    database.refuses = lambda record: error if record.alert is Alert.LOW_SUCCESS_RATE else None
    database.view_age_seconds, database.success_rate = 5000.0, 50.0
    time_passes(clock, [leader], seconds=60)
    assert {STALE, RATE} <= set(leader.told)
    assert (Alert.VIEW_STALE, "v") in database.records
    assert (Alert.LOW_SUCCESS_RATE, "") not in database.records
    assert [line["part"] for line in leader.log.of(Event.PART_FAILED)] == ["alert_store"]
    database.refuses = lambda record: None
    time_passes(clock, [leader], seconds=30)
    assert (Alert.LOW_SUCCESS_RATE, "") in database.records


@pytest.mark.fault
def test_L11_alerts_that_cannot_be_loaded_are_raised(clock: FakeClock, database: Shared) -> None:
    """A store that raises what no port announces must not keep a new leader silent for ever."""
    database.load = raising(BUG)  # type: ignore[method-assign]
    database.view_age_seconds = 5000.0
    replica = Replica(database, "new")
    replica.beat()
    time_passes(clock, [replica], seconds=60)
    assert STALE in replica.told


@pytest.mark.fault
def test_L11_a_notifier_that_raises_ends_no_evaluation(clock: FakeClock, database: Shared, leader: Replica) -> None:
    """Alerts are stored and logged, and handed over again at the next evaluation."""
    hand_over = leader.notifier.alerts
    leader.notifier.alerts = raising(BUG)  # type: ignore[method-assign]
    database.view_age_seconds = 5000.0
    time_passes(clock, [leader], seconds=60)
    assert (Alert.VIEW_STALE, "v") in database.records
    leader.notifier.alerts = hand_over  # type: ignore[method-assign]
    time_passes(clock, [leader], seconds=30)
    assert STALE in leader.told


@pytest.mark.fault
def test_L11_an_evaluation_that_does_not_end_is_told_of(
    clock: FakeClock, database: Shared, leader: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three periods the main loop raises the alert, again each half minute; the next evaluation resolves it."""
    leader.tick()

    def tick(seconds: int) -> None:
        for _ in range(seconds):
            clock.pass_by(1.0)
            if clock.seconds % 5 < 1:
                leader.beat()
            leader.tick()

    def hanging() -> None:
        tick(89)
        assert (STUCK, "") not in leader.state.current.alerts
        tick(2)
        assert leader.state.current.alerts[STUCK, ""].state is FIRING
        assert (STUCK, "") in database.records
        before = leader.notifier.handed_over
        tick(30)
        assert leader.notifier.handed_over == before + 1
        assert leader.health.live()[0]

    monkeypatch.setattr(leader.alerts, "log_stale_views", hanging)
    leader.evaluate()
    assert [line["alert"] for line in leader.log.of(Event.ALERT_FIRING)] == ["AnalyticsEvaluationStuck"]
    monkeypatch.undo()
    clock.pass_by(1.0)
    leader.evaluate()
    assert (STUCK, RESOLVED) in leader.told
    leader.tick()
    assert len(leader.log.of(Event.ALERT_RESOLVED)) == 1


@pytest.mark.fault
def test_L11_a_suspended_process_is_not_stuck(clock: FakeClock, leader: Replica) -> None:
    """Time that the whole process was stopped, or had not yet begun, counts for no evaluation."""
    leader.tick()
    leader.state.change(lambda state: state.evaluation_began(clock.monotonic()))
    clock.pass_by(3600.0)
    leader.tick()
    assert (STUCK, "") not in leader.state.current.alerts
    assert leader.health.live() == (True, "live")


@pytest.mark.fault
def test_L11_a_standby_shows_its_stuck_evaluation_and_tells_nobody(
    clock: FakeClock, database: Shared, leader: Replica
) -> None:
    """Its leader evaluates the same database; Prometheus sees the standby's own gauge."""
    standby = Replica(database, "two")
    standby.beat()
    standby.evaluate()
    for _ in range(100):
        clock.pass_by(1.0)
        standby.tick()
    assert standby.state.current.alerts[STUCK, ""].state is FIRING
    assert standby.notifier.handed_over == 0
    assert (STUCK, "") not in database.records


@pytest.mark.fault
def test_L11_liveness_fails_only_long_after_the_deadline(clock: FakeClock, leader: Replica) -> None:
    """A restart mends no database: one evaluation must have outlived its deadline by five periods and five minutes."""
    leader.tick()
    leader.state.change(lambda state: state.evaluation_began(clock.monotonic()))
    limit = hung_seconds(30.0)
    assert limit == deadline_seconds(30.0) + 300.0
    assert hung_seconds(120.0) == deadline_seconds(120.0) + 600.0
    assert deadline_seconds(30.0) < 30.0 < stuck_seconds(30.0) < limit

    def alive(seconds: float) -> bool:
        for _ in range(round(seconds)):
            clock.pass_by(1.0)
            leader.tick()
        return leader.health.live()[0]

    assert alive(limit)
    assert not alive(2.0)
    assert "evaluation has been running" in leader.health.live()[1]


@pytest.mark.fault
def test_L06_a_figure_that_cannot_be_read_is_not_shown(clock: FakeClock, database: Shared, leader: Replica) -> None:
    """It goes at once, is named once, breaks the contract where waiting cannot help, and comes back."""
    assert leader.state.snapshot().state.rates is not None
    database.rates = raising(NO_GRANT)  # type: ignore[method-assign]
    clock.pass_by(30.0)
    leader.beat()
    leader.evaluate()
    assert leader.state.snapshot().state.rates is None
    broken = leader.state.current.alerts[Alert.CONTRACT_BROKEN, ""]
    assert (broken.state, "permission denied" in broken.description) == (FIRING, True)
    del database.rates
    time_passes(clock, [leader], seconds=30)
    assert leader.state.snapshot().state.rates is not None
    assert leader.state.current.alerts[Alert.CONTRACT_BROKEN, ""].state is RESOLVED


@pytest.mark.fault
def test_L06_figures_end_with_the_readings(clock: FakeClock, database: Shared, leader: Replica) -> None:
    """While the database is away, or nobody evaluates, no figure is shown as of now after three periods; ages go on."""
    database.views = ()
    leader.state.change(
        lambda state: replace(
            state,
            delta=Delta("incremental", pending_rows=7, fold_seconds=1.0, verified_ok=True),
            status=replace(state.status, views=(ViewStatus("v", rows=5, size_bytes=9, recorded_at=clock.now()),))
            if state.status
            else None,
        )
    )

    def shown() -> tuple[object, ...]:
        state = leader.state.snapshot().state
        assert state.status is not None
        assert state.delta is not None
        view = state.status.views[0]
        return view.rows, view.size_bytes, state.delta.pending_rows, state.delta.fold_seconds, state.rates is None

    clock.pass_by(stuck_seconds(30.0) - 1.0)
    assert shown() == (5, 9, 7, 1.0, False)
    clock.pass_by(2.0)
    assert shown() == (None, None, None, None, True)
    snapshot = leader.state.snapshot()
    assert (snapshot.state.mode, snapshot.state.delta and snapshot.state.delta.verified_ok) == ("incremental", True)
    age = snapshot.age("v")
    assert age is not None
    assert age.seconds == pytest.approx(stuck_seconds(30.0) + 1.0)


def test_late_rows_are_logged_once_by_the_leader(clock: FakeClock, database: Shared, leader: Replica) -> None:
    """Rows that came before the horizon since the last reading are a line of the log, whatever becomes of them."""
    standby = Replica(database, "two")
    standby.beat()
    for late_rows in (4, 7, 7):
        delta = Delta("incremental", frozen_until=clock.now(), late_rows=late_rows)
        database.delta = lambda waiting=None, found=delta: found  # type: ignore[method-assign, misc]
        leader.evaluate()
        standby.evaluate()
    assert leader.log.of(Event.ROWS_LATE) == [{"level": "warning", "rows": 3, "frozen_until": clock.now()}]
    assert standby.log.of(Event.ROWS_LATE) == []


@pytest.mark.fault
@pytest.mark.parametrize("part", ["delta", "progress"])
def test_L06_a_part_that_cannot_be_read_shows_no_figure(
    clock: FakeClock, database: Shared, leader: Replica, part: str
) -> None:
    """The delta's rows and another replica's refresh are as little known as the rates then."""
    standby = Replica(database, "two")
    standby.beat()
    standby.evaluate()
    standby.state.change(
        lambda state: replace(
            state, delta=Delta("incremental", pending_rows=7), progress=Progress(UUID(int=1), clock.now(), 1.0)
        )
    )
    setattr(database, part, raising(LOCKED))
    standby.evaluate()
    state = standby.state.snapshot().state
    assert state.delta is not None
    assert (state.delta.pending_rows, state.progress) == (None, None)


def test_the_leader_alone_measures_and_only_where_it_is_asked(
    clock: FakeClock, database: Shared, leader: Replica
) -> None:
    """Sizes are read every ten minutes at most, and by nobody without a capacity."""
    standby = started(database, "two")
    for replica in (leader, standby):
        replica.evaluate()
    assert leader.history.measured == []
    for replica in (leader, standby):
        replica.state.change(lambda state: replace(state, limits=replace(state.limits, disk_bytes=1)))
    for _ in range(21):
        clock.pass_by(30.0)
        leader.beat()
        standby.beat()
        leader.evaluate()
        standby.evaluate()
    assert (leader.history.measured, standby.history.measured) == ([True, True], [False, False])
