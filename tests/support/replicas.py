"""Replicas of one daemon on one database, in memory and moved by hand: evaluations and the election, without threads.

Everything that a database would answer is a plain fake of its port; what decides is the daemon's own.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from analytics_refreshd.app.alerts import AlertEvaluator
from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.election import Election
from analytics_refreshd.app.evaluate_cycle import EvaluateCycle
from analytics_refreshd.app.evaluation_watch import EvaluationWatch
from analytics_refreshd.app.health import HealthChecks
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertKey, AlertRecord, AlertState
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.leadership import LockReading
from analytics_refreshd.core.model import (
    DatabaseStatus,
    LeaderInfo,
    LockSample,
    Origin,
    Outcome,
    Reason,
    Run,
    ViewResult,
    ViewStatus,
)
from analytics_refreshd.core.ports import AlertStore, Leader
from tests.support.fakes import (
    FakeClock,
    FakeHistory,
    FakeNotifier,
    FakeStatusReader,
    RecordingLog,
    RecordingMetrics,
)
from tests.support.leading import holder

AWAY = DatabaseFault("connection refused", error_class=ErrorClass.CONNECT, reason=Reason.CONNECT)
LOCKED = DatabaseFault("lock timeout", error_class=ErrorClass.CONTENTION, reason=Reason.LOCK_TIMEOUT)
NO_GRANT = DatabaseFault("permission denied", error_class=ErrorClass.PERMANENT, reason=Reason.PERMISSION)
POOLER = DatabaseFault("use a direct connection", error_class=ErrorClass.PERMANENT, reason=Reason.CONTRACT)


class Shared(FakeStatusReader, AlertStore):
    """What replicas have in common, as ports show it: alert records, leader lock, figures, and whether it answers.

    One that does not `remember` is an older install: it knows no refresh, and stores no alert.
    """

    def __init__(self, clock: FakeClock, *, remembers: bool = True) -> None:
        super().__init__(clock)
        self.remembers = remembers
        self.on_question = self.answer
        self.away = False
        self.alerts_fault: DatabaseFault | None = None
        self.refuses: Callable[[AlertRecord], Exception | None] = lambda record: None
        self.records: dict[AlertKey, AlertRecord] = {}
        self.view_age_seconds = 1.0
        self._terms: list[LeaderInfo | None] = [None]

    def answer(self) -> None:
        """Raise where it is away."""
        if self.away:
            raise AWAY

    def read(self) -> DatabaseStatus:
        """The one view, refreshed so long ago."""
        now = self.clock.now()
        recorded_at = now - timedelta(seconds=self.view_age_seconds) if self.remembers else None
        self.views = (ViewStatus("v", recorded_at=recorded_at),)
        return super().read()

    def load(self) -> list[AlertRecord]:
        """Every record."""
        self._answer_about_alerts()
        return list(self.records.values())

    def save(self, changed: Sequence[AlertRecord], removed: Sequence[AlertKey]) -> None:
        """Write and delete records."""
        self._answer_about_alerts()
        if not self.remembers:
            return
        for refused in filter(None, map(self.refuses, changed)):
            raise refused
        for key in removed:
            self.records.pop(key, None)
        self.records |= {(record.alert, record.view): record for record in changed}

    def lead_over(self, epoch: int) -> bool:
        """Whether the lock has gone to another since that term, or to nobody."""
        self._answer_about_alerts()
        return self.holder is None or self.term > epoch

    @property
    def term(self) -> int:
        """How often the lock has gone to somebody."""
        if self.holder is not None and self.holder is not self._terms[-1]:
            self._terms.append(self.holder)
        return len(self._terms) - 1

    def _answer_about_alerts(self) -> None:
        self.answer()
        if self.alerts_fault is not None:
            raise self.alerts_fault


class FakeLeader(Leader):
    """The leader's session of one replica; `fault` is raised where the lock is asked for.

    One that is `slow` does not get a lock that is free: another will be quicker.
    """

    def __init__(self, database: Shared, name: str) -> None:
        self._database = database
        self._name = name
        self.fault: DatabaseFault | None = None
        self.slow = False

    def acquire(self) -> LockReading:
        self._database.answer()
        if self.fault is not None:
            raise self.fault
        if self._database.holder is None and not self.slow:
            self._database.holder = LeaderInfo(self._name, 1)
        return self.heartbeat()

    def heartbeat(self) -> LockReading:
        self._database.answer()
        holder = self._database.holder
        held = holder is not None and holder.replica == self._name
        return LockReading(self._database.clock.monotonic(), held, self._database.term if held else None)

    def watch(self, pids: Sequence[int], views: Sequence[str], at_seconds: float) -> LockSample:
        return LockSample(at_seconds, frozenset())

    def other_holder(self) -> LeaderInfo | None:
        return self._database.holder

    def release(self) -> None:
        """The lock stays with its holder until a test moves it."""


class Replica:
    """One daemon's state, election, evaluation and alerts."""

    def __init__(self, database: Shared, name: str) -> None:
        self._database = database
        self.log = RecordingLog()
        self.notifier = FakeNotifier()
        self.lock = FakeLeader(database, name)
        clock, metrics = database.clock, RecordingMetrics()
        self.history = FakeHistory(available=database.remembers)
        self.metrics = metrics
        self.beat_asked_for: list[float] = []
        self.history.on_recent = database.answer
        self.state = holder(("v",), clock, name)
        availability = DatabaseAvailability(self.state, self.log)
        runtime = Runtime(self.state, availability, self.log, metrics, clock)
        self.recorder = recorder = Recorder(runtime, self.history, 10)
        self.alerts = AlertEvaluator(
            runtime,
            store=database,
            history=self.history,
            notifier=self.notifier,
            on_lead_over=lambda: self.beat_asked_for.append(clock.monotonic()),
        )
        self._evaluation = EvaluateCycle(
            runtime,
            status=database,
            history=self.history,
            recorder=recorder,
            alerts=self.alerts,
            retention=timedelta(days=1),
            within=lambda seconds: nullcontext(),
        )
        self.watch = EvaluationWatch(runtime, store=database, notifier=self.notifier)
        self.health = HealthChecks(self.state, clock)
        self._election = Election(
            runtime,
            self.lock,
            on_acquired=self.alerts.invalidate,
            on_lost=lambda: None,
        )

    def beat(self) -> float:
        """The election's turn; returns the seconds until the next."""
        return self._election._beat()

    def evaluate(self) -> None:
        """An evaluation, of which `told` and `inhibited` say what it handed over."""
        self.notifier.told, self.notifier.inhibited = [], []
        self._evaluation.run()

    def tick(self) -> None:
        """The turn of scheduler and main loop, and of the thread that tells of a stuck evaluation."""
        monotonic = self._database.clock.monotonic()
        self.state.change(
            lambda state: replace(state.alive(monotonic, gap_seconds=5.0), scheduler_seen_monotonic=monotonic)
        )
        teller = self.watch.look()
        if teller is not None:
            teller.join(10)
            assert not teller.is_alive()

    def refresh(self, success: bool = True) -> Run:
        """A run of the view that ends now."""
        now = self.state.server_now()
        result = ViewResult("v", success, finished_at=now if success else None)
        run = Run(uuid4(), Origin.SCHEDULE, now, finished_at=now, views=(result,))
        run = replace(run, outcome=Outcome.OK if success else Outcome.FAILED)
        self.state.change(lambda state: state.with_successes(run.views))
        self.recorder.finish(run)
        return run

    @property
    def told(self) -> list[tuple[Alert, AlertState]]:
        """What the last evaluation handed over."""
        return [(record.alert, record.state) for record in self.notifier.told]

    @property
    def inhibited(self) -> list[Alert]:
        """What the last evaluation held back."""
        return [record.alert for record in self.notifier.inhibited]


def time_passes(clock: FakeClock, replicas: Sequence[Replica], *, seconds: float) -> None:
    """Every replica beats and evaluates in its turn, each half minute, a second after the other."""
    for _ in range(round(seconds / 30)):
        clock.pass_by(30.0 - len(replicas))
        for replica in replicas:
            clock.pass_by(1.0)
            replica.beat()
            replica.evaluate()


def started(database: Shared, name: str) -> Replica:
    """A replica that has asked for the lead and evaluated once."""
    replica = Replica(database, name)
    replica.beat()
    replica.evaluate()
    return replica
