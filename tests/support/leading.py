"""One replica that leads, in memory: a cycle and its attempts over a fake refresher."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from analytics_refreshd.app.attempts import Attempts, Watching
from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.cycle_settings import CycleSettings
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.refresh_cycle import RefreshCycle
from analytics_refreshd.app.run_logger import RunLogger
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.core.leadership import Leadership
from analytics_refreshd.core.model import Limits, Role, Run, ViewReport
from analytics_refreshd.core.ports import Clock, RefreshReply
from analytics_refreshd.core.state import State
from tests.support.fakes import (
    FakeClock,
    FakeHistory,
    FakeNotifier,
    FakeRefresher,
    FakeStatusReader,
    RecordingLog,
    RecordingMetrics,
)

VIEWS = ("hourly", "failures")
BEGAN = datetime(2026, 3, 1, 14, 5, tzinfo=UTC)


def holder(views: Sequence[str], clock: Clock, replica: str = "host-1") -> StateHolder:
    """The state of a daemon that has read nothing yet."""
    state = State("orders", tuple(views), Limits(), "cycle", "0", replica=replica, history_pending=0)
    return StateHolder(state, clock)


def reply(*views: str) -> RefreshReply:
    """A refresh in which each of `views` succeeded."""
    return RefreshReply(tuple(ViewReport(view, 0.1, 5, True) for view in views), 0.2)


class Leading:
    """A replica that leads, with everything a cycle needs around `refresher`."""

    def __init__(self, refresher: FakeRefresher, **settings: Any) -> None:
        self.refresher = refresher
        self.clock = FakeClock(BEGAN)
        self.log = RecordingLog()
        self.metrics = RecordingMetrics()
        self.status = FakeStatusReader(self.clock)
        self.history = FakeHistory()
        self.settings = replace(
            CycleSettings(VIEWS, timedelta(minutes=5), 30.0, 250.0, "cycle", 0.5, 10.0),
            **settings,
        )
        self.state = holder(VIEWS, self.clock)
        leads = Leadership(Role.LEADER, 1e9, 1)
        self.state.change(lambda state: replace(state, leadership=leads, database_reached=True))
        self.database = DatabaseAvailability(self.state, self.log)
        runtime = Runtime(self.state, self.database, self.log, self.metrics, self.clock)
        self.run_logger = RunLogger(self.log, self.metrics, self.database)
        self.attempts = Attempts(
            runtime,
            self.settings,
            refresher=refresher,
            status=self.status,
            run_logger=self.run_logger,
            watching=Watching(lambda watch: None, lambda: None),
        )
        self.recorder = Recorder(runtime, self.history, 3)
        self.notifier = FakeNotifier()
        self.after: list[Run] = []
        self.cycle = RefreshCycle(
            runtime,
            attempts=self.attempts,
            recorder=self.recorder,
            status=self.status,
            run_logger=self.run_logger,
            notifier=self.notifier,
            after_run=self.after.append,
        )

    def lose(self) -> None:
        """Another replica leads from now on, as the election's thread says it."""
        self.state.change(lambda state: replace(state, leadership=Leadership(Role.STANDBY)))
        self.attempts.abandon()


def started(run_id: UUID, on_started: Callable[[int], None], *given: Any) -> RefreshReply:
    """A step: a refresh by one backend in which both views succeed."""
    on_started(4711)
    return reply(*VIEWS)
