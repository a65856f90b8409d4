"""Plain stand-ins for the ports, for what the app decides between them; nothing here plays a database."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from analytics_refreshd.app.attempts import Attempts, CycleSettings, Watching
from analytics_refreshd.app.database_health import DatabaseHealth
from analytics_refreshd.app.memory import Identity, Memory
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.refresh_cycle import RefreshCycle
from analytics_refreshd.app.run_logger import RunLogger
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.leadership import Leadership
from analytics_refreshd.core.model import Limits, Pause, Reason, Role, Run, ViewReport
from analytics_refreshd.core.ports import RefreshReply

VIEWS = ("hourly", "failures")
BEGAN = datetime(2026, 3, 1, 14, 5, tzinfo=UTC)


def fault(error_class: ErrorClass = ErrorClass.CONN_LOST, *, committing: bool = False) -> DatabaseFault:
    """A fault of that class."""
    reason = {ErrorClass.CANCELLED: Reason.CANCELLED}.get(error_class, Reason.CONN_LOST)
    return DatabaseFault("gone", error_class=error_class, reason=reason, committing=committing)


def reply(*views: str) -> RefreshReply:
    """A refresh in which each of `views` succeeded."""
    return RefreshReply(tuple(ViewReport(view, 0.1, 5, True) for view in views), 0.2)


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return 1000.0 + self.passed


class Lines:
    """An event log in memory: `lines` are pairs of event and fields."""

    def __init__(self) -> None:
        self.lines: list[tuple[Event, dict[str, Any]]] = []

    def emit(self, event: Event, *, level: str = "info", **fields: object) -> None:
        self.lines.append((event, {"level": level, **fields}))

    def of(self, event: Event) -> list[dict[str, Any]]:
        """The fields of each line of one event."""
        return [fields for found, fields in self.lines if found is event]


class Calls:
    """Whatever port is asked only to be told: `names` are the methods called, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given, **named: self.names.append(name)


class Scripted:
    """A refresher that does one `step` a call, the last one for ever; a step gets what `refresh` gets."""

    def __init__(self, *steps: Callable[..., RefreshReply]) -> None:
        self.steps = list(steps)
        self.refreshed = 0
        self.cancels = 0
        self.rebuilding: Callable[..., str | None] = lambda *given: None

    def refresh(self, *given: Any) -> RefreshReply:
        self.refreshed += 1
        return (self.steps.pop(0) if len(self.steps) > 1 else self.steps[0])(*given)

    def rebuild(self, *given: Any) -> str | None:
        return self.rebuilding(*given)

    def cancel(self) -> None:
        self.cancels += 1

    def close(self) -> None:
        """Nothing is open."""


class Status:
    """A status reader of which only the pause is asked; `on_pause` is what happens meanwhile."""

    def __init__(self) -> None:
        self.on_pause: Callable[[], object] = lambda: None

    def pause(self, wait_seconds: float = 15.0) -> Pause | None:
        self.on_pause()
        return None


class Shelf:
    """A history in memory; `on_finish` is what happens before a finished run is written."""

    def __init__(self) -> None:
        self.available = True
        self.finished: list[Run] = []
        self.on_finish: Callable[[Run], object] = lambda run: None

    def begin(self, run: Run) -> None:
        """Nothing is kept of what only began."""

    def finish(self, run: Run) -> None:
        self.on_finish(run)
        self.finished.append(run)

    def close_abandoned(self) -> int:
        return 0


class Leading:
    """A replica that leads, with everything a cycle needs around `refresher`."""

    def __init__(self, refresher: Scripted, **settings: Any) -> None:
        self.refresher = refresher
        self.clock = Hands()
        self.log = Lines()
        self.metrics: Any = Calls()
        self.status: Any = Status()
        self.history: Any = Shelf()
        self.settings = replace(
            CycleSettings(VIEWS, timedelta(minutes=5), 30.0, 250.0, "cycle", 0.5, 10.0),
            **settings,
        )
        self.memory = Memory(
            Identity("orders", "host-1", "0"), views=VIEWS, limits=Limits(), isolation="cycle", clock=self.clock
        )
        self.memory.update(leadership=Leadership(Role.LEADER, 1e9, 1), ever_up=True)
        self.health = DatabaseHealth(self.memory, self.log)
        self.run_logger = RunLogger(self.log, self.metrics, self.health)
        self.attempts = Attempts(
            self.settings,
            refresher=refresher,
            status=self.status,
            memory=self.memory,
            health=self.health,
            log=self.log,
            metrics=self.metrics,
            run_logger=self.run_logger,
            clock=self.clock,
            watching=Watching(lambda watch: None, lambda: None),
        )
        self.recorder = Recorder(self.history, self.memory, self.log, self.metrics, self.clock, 3)
        self.cycle = RefreshCycle(
            attempts=self.attempts,
            recorder=self.recorder,
            status=self.status,
            memory=self.memory,
            health=self.health,
            log=self.log,
            run_logger=self.run_logger,
            metrics=self.metrics,
            notifier=Calls(),  # type: ignore[arg-type]
            clock=self.clock,
            after_run=lambda run: None,
        )

    def lose(self) -> None:
        """Another replica leads from now on, as the election's thread says it."""
        self.memory.update(leadership=Leadership(Role.STANDBY))
        self.attempts.abandon()


def started(run_id: UUID, on_started: Callable[[int], None], *given: Any) -> RefreshReply:
    """A step: a refresh by one backend in which both views succeed."""
    on_started(4711)
    return reply(*VIEWS)
