"""Replicas of one daemon on one database, in memory and moved by hand: evaluations and the election, without threads.

Everything that a database would answer is a plain fake of its port; what decides is the daemon's own.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from analytics_refreshd.app.alerts import Alerts
from analytics_refreshd.app.database_health import DatabaseHealth
from analytics_refreshd.app.election import Election
from analytics_refreshd.app.evaluate_cycle import EvaluateCycle
from analytics_refreshd.app.memory import Identity, Memory
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertKey, AlertRecord, AlertState
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.leadership import LockReading
from analytics_refreshd.core.model import DatabaseStatus, Delta, LeaderInfo, Limits, Rates, Reason, ViewStatus
from tests.support.receivers import Clock, Log

AWAY = DatabaseFault("connection refused", error_class=ErrorClass.CONNECT, reason=Reason.CONNECT)
LOCKED = DatabaseFault("lock timeout", error_class=ErrorClass.CONTENTION, reason=Reason.LOCK_TIMEOUT)
NO_GRANT = DatabaseFault("permission denied", error_class=ErrorClass.PERMANENT, reason=Reason.PERMISSION)
POOLER = DatabaseFault("use a direct connection", error_class=ErrorClass.PERMANENT, reason=Reason.CONTRACT)


class Shared:
    """What replicas have in common, as ports show it: alert records, leader lock, figures, and whether it answers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.away = False
        self.alerts_fault: DatabaseFault | None = None
        self.records: dict[AlertKey, AlertRecord] = {}
        self.holder: LeaderInfo | None = None
        self.success_rate = 100.0
        self.view_age_seconds = 1.0

    def answer(self) -> None:
        """Raise where it is away."""
        if self.away:
            raise AWAY

    # -- core.ports.StatusReader -----------------------------------------------------------------------------

    def read(self) -> DatabaseStatus:
        """The one view, refreshed so long ago."""
        self.answer()
        now = self.clock.now()
        return DatabaseStatus(now, (ViewStatus("v", recorded_at=now - timedelta(seconds=self.view_age_seconds)),))

    def rates(self) -> Rates:
        """The figure to alert on."""
        self.answer()
        return Rates(100, self.success_rate, 0.1)

    def pause(self, wait_seconds: float = 15.0) -> None:
        """Never one."""
        self.answer()

    def progress(self) -> None:
        """Nothing runs."""
        self.answer()

    def delta(self) -> Delta:
        """Plain mode."""
        self.answer()
        return Delta()

    def leader(self) -> LeaderInfo | None:
        """Who holds the lock."""
        self.answer()
        return self.holder

    # -- core.ports.AlertStore ---------------------------------------------------------------------------------

    def load(self) -> list[AlertRecord]:
        """Every record."""
        self._answer_about_alerts()
        return list(self.records.values())

    def save(self, changed: Sequence[AlertRecord], removed: Sequence[AlertKey]) -> None:
        """Write and delete records."""
        self._answer_about_alerts()
        for key in removed:
            self.records.pop(key, None)
        self.records |= {(record.alert, record.view): record for record in changed}

    def _answer_about_alerts(self) -> None:
        self.answer()
        if self.alerts_fault is not None:
            raise self.alerts_fault


class _History:
    """`core.ports.History` of a database without runs."""

    def __init__(self, database: Shared) -> None:
        self._database = database
        self.available = True

    def recent(self, limit: int, **_: object) -> list[Any]:
        self._database.answer()
        return []

    def close_abandoned(self) -> int:
        return 0

    def prune(self, retention: timedelta, batch: int) -> int:
        return 0


class _Lock:
    """`core.ports.Leader` of one replica."""

    def __init__(self, database: Shared, name: str) -> None:
        self._database = database
        self._name = name
        self.fault: DatabaseFault | None = None

    def acquire(self) -> LockReading:
        self._database.answer()
        if self.fault is not None:
            raise self.fault
        if self._database.holder is None:
            self._database.holder = LeaderInfo(self._name, 1)
        return self.heartbeat()

    def heartbeat(self) -> LockReading:
        self._database.answer()
        holder = self._database.holder
        held = holder is not None and holder.replica == self._name
        return LockReading(self._database.clock.monotonic(), held)

    def other_holder(self) -> LeaderInfo | None:
        return self._database.holder


class _Notifier:
    """`core.ports.Notifier` that keeps what it was handed."""

    def __init__(self) -> None:
        self.told: list[AlertRecord] = []
        self.inhibited: list[AlertRecord] = []
        self.handed_over = 0
        self.invalidated = 0
        self.state = "nothing was sent yet"

    def alerts(self, records: Sequence[AlertRecord], *, inhibited: Sequence[AlertRecord]) -> None:
        self.told, self.inhibited = list(records), list(inhibited)
        self.handed_over += 1

    def invalidate(self) -> None:
        self.invalidated += 1

    def status(self) -> Mapping[str, str]:
        return {"pager": self.state}


class _NoMetrics:
    """`core.ports.Metrics` that counts nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Replica:
    """One daemon's memory, election, evaluation and alerts."""

    def __init__(self, database: Shared, name: str) -> None:
        self._database = database
        self.log = Log()
        self.notifier = _Notifier()
        self.lock = _Lock(database, name)
        clock, metrics, self.history = database.clock, _NoMetrics(), _History(database)
        self.memory = Memory(Identity("shop", name, "0"), views=("v",), limits=Limits(), isolation="cycle", clock=clock)
        health = DatabaseHealth(self.memory, self.log)  # type: ignore[arg-type]
        recorder = Recorder(self.history, self.memory, self.log, metrics, clock, 10)  # type: ignore[arg-type]
        self.alerts = Alerts(
            store=database,
            history=self.history,  # type: ignore[arg-type]
            notifier=self.notifier,  # type: ignore[arg-type]
            recorder=recorder,
            memory=self.memory,
            health=health,
            log=self.log,
            clock=clock,
        )
        self._evaluation = EvaluateCycle(
            status=database,  # type: ignore[arg-type]
            history=self.history,  # type: ignore[arg-type]
            recorder=recorder,
            alerts=self.alerts,
            memory=self.memory,
            health=health,
            log=self.log,
            metrics=metrics,  # type: ignore[arg-type]
            clock=clock,
            retention=timedelta(days=1),
        )
        self._election = Election(
            self.lock,  # type: ignore[arg-type]
            self.memory,
            self.log,
            clock,
            on_acquired=self.alerts.invalidate,
            on_lost=lambda: None,
            on_fault=health.failed,
            on_answer=health.answered,
        )

    def beat(self) -> None:
        """The election's turn."""
        self._election._beat()

    def evaluate(self) -> None:
        """An evaluation, of which `told` and `inhibited` say what it handed over."""
        self.notifier.told, self.notifier.inhibited = [], []
        self._evaluation.run()

    @property
    def told(self) -> list[tuple[Alert, AlertState]]:
        """What the last evaluation handed over."""
        return [(record.alert, record.state) for record in self.notifier.told]

    @property
    def inhibited(self) -> list[Alert]:
        """What the last evaluation held back."""
        return [record.alert for record in self.notifier.inhibited]


def time_passes(clock: Clock, replicas: Sequence[Replica], *, seconds: float) -> None:
    """Every replica beats and evaluates in its turn, each half minute, a second after the other."""
    for _ in range(round(seconds / 30)):
        clock.pass_by(30.0 - len(replicas))
        for replica in replicas:
            clock.pass_by(1.0)
            replica.beat()
            replica.evaluate()
