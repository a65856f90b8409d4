"""Plain stand-ins for the ports of `core.ports`, one a port; each declares its port, so that drift is a type error.

They answer from memory, as a test sets them; none plays a database.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from analytics_refreshd.core.alerts.lifecycle import AlertRecord
from analytics_refreshd.core.delta import Delta, Waiting
from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.metrics import ALERT_DELIVERIES, ALERT_DELIVERY_FAILURES
from analytics_refreshd.core.model import (
    DatabaseStatus,
    LeaderInfo,
    Outcome,
    Pause,
    Progress,
    Rates,
    Reason,
    Run,
    ViewStatus,
)
from analytics_refreshd.core.ports import (
    Clock,
    DeliveryRecord,
    DeliveryStore,
    EventLog,
    Health,
    History,
    Metrics,
    Notifier,
    Refresher,
    RefreshReply,
    StatusReader,
)
from analytics_refreshd.core.retention import LastRuns
from analytics_refreshd.core.snapshot import Snapshot

Step = Callable[[UUID, Callable[[int], None], Callable[[], bool]], RefreshReply]
RebuildStep = Callable[[UUID, Callable[[], None], Callable[[], bool]], str | None]


def fault(error_class: ErrorClass = ErrorClass.CONN_LOST, *, committing: bool = False) -> DatabaseFault:
    """A fault of that class."""
    reasons = {ErrorClass.CANCELLED: Reason.CANCELLED, ErrorClass.CONNECT: Reason.CONNECT}
    reason = reasons.get(error_class, Reason.CONN_LOST)
    return DatabaseFault("gone", error_class=error_class, reason=reason, committing=committing)


class FakeClock(Clock):
    """A clock that moves only when told to."""

    def __init__(self, began: datetime = datetime(2026, 5, 4, 12, tzinfo=UTC)) -> None:
        self.wall = began
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds


class RecordingLog(EventLog):
    """Keeps what was logged: `lines` are pairs of event and fields."""

    def __init__(self) -> None:
        self.lines: list[tuple[Event, dict[str, Any]]] = []

    def emit(self, event: Event, *, level: str = "info", **fields: object) -> None:
        self.lines.append((event, {"level": level, **fields}))

    def of(self, event: Event) -> list[dict[str, Any]]:
        """The fields of every line of one event."""
        return [fields for found, fields in list(self.lines) if found is event]


class RecordingMetrics(Metrics):
    """Keeps what was counted: methods called and counters counted, in order; deliveries by receiver; probes."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.good: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.probes: list[tuple[str, float | None]] = []

    def run_finished(self, run: Run) -> None:
        self.calls.append("run_finished")

    def slot_skipped(self, reason: Reason) -> None:
        self.calls.append("slot_skipped")

    def count(self, metric: Metric, **labels: str) -> None:
        self.calls.append(metric.name)
        if metric is ALERT_DELIVERIES:
            self.good[labels["receiver"]] += 1
        elif metric is ALERT_DELIVERY_FAILURES:
            self.bad[labels["receiver"]] += 1

    def cycle_finished(self, seconds: float) -> None:
        self.calls.append("cycle_finished")

    def probed(self, endpoint: str, seconds: float | None) -> None:
        self.calls.append("probed")
        self.probes.append((endpoint, seconds))

    def config_reloaded(self, success: bool) -> None:
        self.calls.append("config_reloaded")


class FakeRefresher(Refresher):
    """Does one `step` a call, the last one for ever; a step gets what `refresh` gets."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.refreshed = 0
        self.asked: list[Sequence[str] | None] = []
        self.cancels = 0
        self.rebuilding: RebuildStep = lambda run_id, on_started, cancelled: None

    def refresh(
        self,
        run_id: UUID,
        on_started: Callable[[int], None],
        cancelled: Callable[[], bool],
        views: Sequence[str] | None = None,
    ) -> RefreshReply:
        self.refreshed += 1
        self.asked.append(views)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        return step(run_id, on_started, cancelled)

    def rebuild(self, run_id: UUID, on_started: Callable[[], None], cancelled: Callable[[], bool]) -> str | None:
        return self.rebuilding(run_id, on_started, cancelled)

    def cancel(self) -> None:
        self.cancels += 1

    def close(self) -> None:
        """Nothing is open."""


class FakeStatusReader(StatusReader):
    """Answers with its attributes; `on_question` is what happens before each answer, and may raise."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.on_question: Callable[[], object] = lambda: None
        self.views: tuple[ViewStatus, ...] = ()
        self.success_rate = 100.0
        self.problems: tuple[str, ...] = ()
        self.retained: LastRuns | None = None
        self.latency_problem: str | None = None
        self.holder: LeaderInfo | None = None
        self.running: Progress | None = None

    def read(self) -> DatabaseStatus:
        self.on_question()
        return DatabaseStatus(self.clock.now(), self.views)

    def reconnect(self) -> None:
        """Its connection is as good as a new one."""

    def rates(self) -> Rates:
        self.on_question()
        return Rates(
            100, self.success_rate, None if self.latency_problem else 0.1, latency_problem=self.latency_problem
        )

    def pause(self, wait_seconds: float = 15.0) -> Pause | None:
        self.on_question()
        return None

    def leader(self) -> LeaderInfo | None:
        self.on_question()
        return self.holder

    def progress(self) -> Progress | None:
        self.on_question()
        return self.running

    def installation_problems(self) -> tuple[str, ...]:
        self.on_question()
        return self.problems

    def retention(self) -> LastRuns | None:
        self.on_question()
        return self.retained

    def delta(self, waiting: Waiting | None = None) -> Delta:
        self.on_question()
        return Delta()


class FakeHistory(History):
    """Keeps finished runs; `on_begin`, `on_finish` and `on_recent` happen before each call's work, and may raise."""

    def __init__(self, *, available: bool = True) -> None:
        self._available = available
        self.finished: list[Run] = []
        self.runs: list[Run] = []
        self.on_begin: Callable[[Run], object] = lambda run: None
        self.on_finish: Callable[[Run], object] = lambda run: None
        self.on_recent: Callable[[], object] = lambda: None
        self.measured: list[bool] = []

    @property
    def available(self) -> bool:
        return self._available

    def begin(self, run: Run) -> None:
        self.on_begin(run)

    def finish(self, run: Run) -> None:
        self.on_finish(run)
        self.finished.append(run)

    def recent(
        self, limit: int, *, since: datetime | None = None, view: str | None = None, outcomes: Sequence[Outcome] = ()
    ) -> list[Run]:
        self.on_recent()
        return self.runs

    def sizes(self, *, measure: bool) -> Sequence[SizeSample]:
        self.measured.append(measure)
        return ()

    def close_abandoned(self) -> int:
        return 0

    def prune(self, retention: timedelta, batch: int) -> int:
        return 0


class FakeNotifier(Notifier):
    """Keeps what it was handed."""

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

    def heartbeat(self, phase: str, run: Run | None) -> None:
        """Heartbeats go nowhere."""

    def status(self) -> Mapping[str, str]:
        return {"pager": self.state}

    def stop(self, deadline_seconds: float) -> None:
        """Nothing waits."""


class FakeDeliveryStore(DeliveryStore):
    """Outlives the daemons of a test, and can be taken away; `on_load` is what happens before each reading."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str, str], datetime] = {}
        self.away = False
        self.loads = 0
        self.on_load: Callable[[], object] = lambda: None

    def load(self) -> list[DeliveryRecord]:
        self.on_load()
        self._answer()
        self.loads += 1
        return [DeliveryRecord(*key, sent_at) for key, sent_at in list(self.records.items())]

    def save(self, sent: Sequence[DeliveryRecord]) -> None:
        self._answer()
        self.records |= {(item.receiver, item.alert_key, item.status): item.sent_at for item in sent}

    def _answer(self) -> None:
        if self.away:
            raise fault(ErrorClass.CONNECT)


class FakeHealth(Health):
    """Answers what it was given, `passed` seconds later."""

    def __init__(self, current: Snapshot) -> None:
        self.current = current
        self.passed = 0.0
        self.live_answer: tuple[bool, str] = (True, "")
        self.ready_answer: tuple[bool, str] = (True, "ready")

    def snapshot(self) -> Snapshot:
        now, monotonic = self.current.now + timedelta(seconds=self.passed), self.current.monotonic + self.passed
        return replace(self.current, now=now, monotonic=monotonic)

    def live(self) -> tuple[bool, str]:
        return self.live_answer

    def ready(self) -> tuple[bool, str]:
        return self.ready_answer
