"""The daemon's clock and the server's two hours apart: what the server dated is compared with the server's time."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import generate_latest

from analytics_refreshd.app.memory import Identity, Memory
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.alerts.rules import Situation, conditions
from analytics_refreshd.core.model import DatabaseStatus, Limits, Origin, Outcome, Pause, Reason, Run
from analytics_refreshd.core.staleness import Age
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from analytics_refreshd.observe.page.notices import notices
from analytics_refreshd.observe.page.status_json import picture
from analytics_refreshd.observe.page.timeline import timeline
from analytics_refreshd.observe.page.words import words
from tests.support.receivers import Clock, Log
from tests.support.states import FixedHealth

VIEW = "recent_failures"


class NoHistory:
    """A database without our schema."""

    available = False

    def begin(self, run: Run) -> None:
        """Nothing is stored."""

    finish = begin


@pytest.fixture(params=[2, -2], ids=["server-ahead", "server-behind"])
def clock_and_memory(request: pytest.FixtureRequest) -> tuple[Clock, Memory, datetime]:
    """The daemon's clock, a memory that has read the server's, and what the server's shows now."""
    clock = Clock()
    memory = Memory(Identity("orders", "r1", "0"), views=(VIEW,), limits=Limits(), isolation="cycle", clock=clock)
    server_now = clock.now() + timedelta(hours=request.param)
    memory.update(status=DatabaseStatus(server_now, ()), evaluated_monotonic=clock.monotonic(), ever_up=True)
    clock.pass_by(10.0)
    return clock, memory, server_now + timedelta(seconds=10)


def test_what_is_shown(clock_and_memory: tuple[Clock, Memory, datetime]) -> None:
    """A pause in force counts as one; an outage and an alert have lasted as long as they have."""
    clock, memory, server_now = clock_and_memory
    began = server_now - timedelta(seconds=40)
    memory.update(pause=Pause(began, server_now + timedelta(minutes=30), "upgrade"), down_since=began)
    memory.set_alerts(
        {(Alert.VIEW_STALE, VIEW): AlertRecord(Alert.VIEW_STALE, VIEW, AlertState.FIRING, Severity.WARNING, began)}
    )
    state = memory.state()
    metrics = PrometheusMetrics("orders", "0", (VIEW,), monotonic=clock.monotonic)
    metrics.watch(FixedHealth(state))
    assert 'analytics_paused{database="orders"} 1.0' in generate_latest(metrics.registry).decode()
    assert any("(40 s)" in notice.text for notice in notices(state, clock.monotonic()))
    shown = picture(state, clock.monotonic())
    assert (shown["generated_at"], shown["server_now"]) == (clock.now(), server_now)
    assert words(shown)["alerts"][0]["since"].endswith("UTC (40 s)")
    assert 'analytics_paused{database="orders"} 0.0' in _an_hour_later(metrics, clock)


def _an_hour_later(metrics: PrometheusMetrics, clock: Clock) -> str:
    clock.pass_by(3600.0)
    return generate_latest(metrics.registry).decode()


def test_a_run_that_only_this_process_knows(clock_and_memory: tuple[Clock, Memory, datetime]) -> None:
    """It is dated as history would have: the excuse of a pause just over lasts two intervals, no longer, no shorter."""
    clock, memory, server_now = clock_and_memory
    recorder = Recorder(NoHistory(), memory, Log(), object(), clock, 10)  # type: ignore[arg-type]
    skipped = Run(UUID(int=1), Origin.SCHEDULE, clock.now(), finished_at=clock.now(), outcome=Outcome.SKIPPED)
    recorder.finish(replace(skipped, reason=Reason.PAUSED, duration_seconds=0.0))
    (known,) = memory.runs()
    assert (known.started_at, known.finished_at) == (server_now, server_now)
    assert not _stale(memory)
    clock.pass_by(599.0)
    assert not _stale(memory)
    clock.pass_by(2.0)
    assert _stale(memory)


def _stale(memory: Memory) -> bool | None:
    """Whether a view of half an hour is held to be stale."""
    now = memory.server_now()
    situation = Situation("orders", now, (VIEW,), ages={VIEW: Age(VIEW, 1800.0, now, "record")}, runs=memory.runs())
    found = {(each.alert, each.view): each.holds for each in conditions(situation, Limits())}
    return found[Alert.VIEW_STALE, VIEW]


def test_a_finished_run_began_its_duration_ago(clock_and_memory: tuple[Clock, Memory, datetime]) -> None:
    """By the server's clock, whatever the daemon's did meanwhile; under way, it begins now."""
    _, memory, server_now = clock_and_memory
    run = Run(UUID(int=1), Origin.COMMAND, datetime.max.replace(tzinfo=server_now.tzinfo))
    assert memory.dated(run).started_at == server_now
    assert memory.dated(run).finished_at is None
    finished = memory.dated(replace(run, finished_at=run.started_at, duration_seconds=7.0))
    assert (finished.started_at, finished.finished_at) == (server_now - timedelta(seconds=7), server_now)


def test_a_run_without_a_slot_is_shown_in_the_daemon_s_cells(clock_and_memory: tuple[Clock, Memory, datetime]) -> None:
    """A person's refresh, dated by the server, lies among the slots that the daemon's clock makes."""
    clock, _, server_now = clock_and_memory
    run = Run(UUID(int=1), Origin.COMMAND, server_now, outcome=Outcome.OK)
    assert timeline((run,), Limits(), clock.now(), server_now).cells[-1].run == run
