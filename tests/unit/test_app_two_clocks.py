"""The daemon's clock and the server's two hours apart: what the server dated is compared with the server's time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import generate_latest

from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.alerts.rules import conditions
from analytics_refreshd.core.model import DatabaseStatus, Origin, Outcome, Pause, Reason, Run, ViewStatus
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from analytics_refreshd.observe.page.words import words
from analytics_refreshd.observe.status.document import status_document
from analytics_refreshd.observe.status.notices import notices
from analytics_refreshd.observe.status.timeline import timeline
from tests.support.fakes import FakeClock, FakeHistory, FakeRefresher, RecordingLog, RecordingMetrics
from tests.support.leading import BEGAN, Leading, holder, started

VIEW = "recent_failures"
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.fixture(params=[2, -2], ids=["server-ahead", "server-behind"])
def clock_and_state(request: pytest.FixtureRequest) -> tuple[FakeClock, StateHolder, datetime]:
    """The daemon's clock, a state that has read the server's, and what the server's shows now."""
    clock = FakeClock()
    state = holder((VIEW,), clock)
    server_now = clock.now() + timedelta(hours=request.param)
    status, read = DatabaseStatus(server_now, ()), clock.monotonic()
    state.change(lambda state: replace(state, status=status, evaluated_monotonic=read, database_reached=True))
    clock.pass_by(10.0)
    return clock, state, server_now + timedelta(seconds=10)


def test_what_is_shown(clock_and_state: tuple[FakeClock, StateHolder, datetime]) -> None:
    """A pause in force counts as one; an outage and an alert have lasted as long as they have."""
    clock, state, server_now = clock_and_state
    began = server_now - timedelta(seconds=40)
    pause = Pause(began, server_now + timedelta(minutes=30), "upgrade")
    record = AlertRecord(Alert.VIEW_STALE, VIEW, AlertState.FIRING, Severity.WARNING, began)
    alerts = {(record.alert, record.view): record}
    state.change(lambda state: replace(state, pause=pause, database_down_since=began, alerts=alerts))
    snapshot = state.snapshot()
    metrics = PrometheusMetrics("orders", "0", (VIEW,))
    metrics.watch(state)
    assert 'analytics_paused{database="orders"} 1.0' in generate_latest(metrics.registry).decode()
    assert any("(40 s)" in notice.text for notice in notices(snapshot))
    shown = status_document(snapshot)
    assert (shown["generated_at"], shown["server_now"]) == (clock.now(), server_now)
    assert words(shown)["alerts"][0]["since"].endswith("UTC (40 s)")
    assert 'analytics_paused{database="orders"} 0.0' in _an_hour_later(metrics, clock)


def _an_hour_later(metrics: PrometheusMetrics, clock: FakeClock) -> str:
    clock.pass_by(3600.0)
    return generate_latest(metrics.registry).decode()


def test_a_run_that_only_this_process_knows(clock_and_state: tuple[FakeClock, StateHolder, datetime]) -> None:
    """It is dated as history would have: the excuse of a pause just over lasts two intervals, no longer, no shorter."""
    clock, state, server_now = clock_and_state
    log = RecordingLog()
    runtime = Runtime(state, DatabaseAvailability(state, log), log, RecordingMetrics(), clock)
    recorder = Recorder(runtime, FakeHistory(available=False), 10)
    skipped = Run(UUID(int=1), Origin.SCHEDULE, clock.now(), finished_at=clock.now(), outcome=Outcome.SKIPPED)
    recorder.finish(replace(skipped, reason=Reason.PAUSED, duration_seconds=0.0))
    (known,) = state.current.runs
    assert (known.started_at, known.finished_at) == (server_now, server_now)
    assert not _stale(state.snapshot())
    clock.pass_by(599.0)
    assert not _stale(state.snapshot())
    clock.pass_by(2.0)
    assert _stale(state.snapshot())


def _stale(snapshot: Snapshot) -> bool | None:
    """Whether a view of half an hour is held to be stale."""
    status = DatabaseStatus(snapshot.server_now, (ViewStatus(VIEW, claimed_at=snapshot.server_now - HALF_AN_HOUR),))
    state = replace(snapshot.state, status=status, evaluated_monotonic=snapshot.monotonic)
    found = {(each.alert, each.view): each.holds for each in conditions(replace(snapshot, state=state))}
    return found[Alert.VIEW_STALE, VIEW]


def test_a_finished_run_began_its_duration_ago(clock_and_state: tuple[FakeClock, StateHolder, datetime]) -> None:
    """By the server's clock, whatever the daemon's did meanwhile; under way, it begins now."""
    _, state, server_now = clock_and_state
    run = Run(UUID(int=1), Origin.COMMAND, datetime.max.replace(tzinfo=server_now.tzinfo))
    assert state.snapshot().dated(run).started_at == server_now
    assert state.snapshot().dated(run).finished_at is None
    finished = state.snapshot().dated(replace(run, finished_at=run.started_at, duration_seconds=7.0))
    assert (finished.started_at, finished.finished_at) == (server_now - timedelta(seconds=7), server_now)


def test_a_run_without_a_slot_is_shown_in_the_daemon_s_cells(
    clock_and_state: tuple[FakeClock, StateHolder, datetime],
) -> None:
    """A person's refresh, dated by the server, lies among the slots that the daemon's clock makes."""
    _, state, server_now = clock_and_state
    run = Run(UUID(int=1), Origin.COMMAND, server_now, outcome=Outcome.OK)
    state.change(lambda state: state.with_runs([run]))
    assert timeline(state.snapshot()).cells[-1].run == run


def test_a_refresh_under_way_is_dated_by_the_server() -> None:
    """As every time in the status document that is not said to be the daemon's own."""
    replica = Leading(FakeRefresher(started))
    server_now = replica.clock.now() + timedelta(hours=2)
    status, read = DatabaseStatus(server_now, ()), replica.clock.monotonic()
    replica.state.change(lambda state: replace(state, status=status, evaluated_monotonic=read))
    began: list[datetime] = []

    def refreshing(*given: Any) -> RefreshReply:
        progress = replica.state.current.progress
        assert progress is not None
        began.append(progress.started_at)
        return started(*given)

    replica.refresher.steps = [refreshing]
    assert replica.cycle.run(BEGAN) is not None
    assert began == [server_now]
    assert replica.state.current.progress is None
