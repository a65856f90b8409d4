"""The leader feeds the warehouse; what fails is told once, and what waits is seen."""

from collections.abc import Callable

from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.app.state import StateHolder
from analytics_refreshd.app.warehouse import WarehouseForwarder
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Role
from analytics_refreshd.core.warehouse import OutboxState, Sent, WarehouseFault
from tests.support.fakes import FakeClock, RecordingLog, RecordingMetrics
from tests.support.states import MONOTONIC, NOW, healthy
from tests.unit.test_core_warehouse import OUTBOX


class Feeding:
    """A forwarder, whose sends answer by `send`."""

    def __init__(self, send: Callable[[], Sent | None], *, role: Role = Role.LEADER) -> None:
        clock, self.log = FakeClock(NOW), RecordingLog()
        clock.seconds = MONOTONIC
        self.state = StateHolder(healthy(role=role).state, clock)
        runtime = Runtime(self.state, DatabaseAvailability(self.state, self.log), self.log, RecordingMetrics(), clock)
        self.outbox: OutboxState | None = OUTBOX
        self.stopped = 0
        self.forwarder = WarehouseForwarder(runtime, send, self._stop, lambda: self.outbox)

    def _stop(self) -> None:
        self.stopped += 1


def test_what_was_sent_is_logged() -> None:
    """An export and why it was made, and batches at a lower level; nothing where nothing waited."""
    sent = [Sent(restarted="the warehouse lost batches"), Sent(exported_epoch=4), Sent(batches=2, rows=30), Sent()]
    feeding = Feeding(lambda: sent.pop(0))
    for _ in range(4):
        feeding.forwarder.run()
    assert feeding.log.of(Event.WAREHOUSE_RESTARTED) == [
        {"level": "warning", "reason_text": "the warehouse lost batches"}
    ]
    assert feeding.log.of(Event.WAREHOUSE_EXPORTED) == [{"level": "info", "epoch": 4, "seconds": 0.0}]
    assert feeding.log.of(Event.WAREHOUSE_SENT) == [{"level": "debug", "batches": 2, "rows": 30, "seconds": 0.0}]


def test_a_standby_sends_nothing() -> None:
    """It could send what the leader sends."""
    asked: list[None] = []
    Feeding(lambda: asked.append(None), role=Role.STANDBY).forwarder.run()
    assert asked == []


def test_a_failure_is_told_once_with_what_to_do() -> None:
    """Until it is over; a database without an outbox is one."""

    def refuse() -> Sent:
        raise WarehouseFault("the warehouse refused: its disk is full")

    feeding = Feeding(refuse)
    feeding.forwarder.run()
    feeding.forwarder.run()
    (told,) = feeding.log.of(Event.PART_FAILED)
    assert (told["part"], told["error"]) == ("warehouse", "the warehouse refused: its disk is full")
    feeding = Feeding(lambda: None)
    feeding.forwarder.run()
    (told,) = feeding.log.of(Event.PART_FAILED)
    assert told["error"] == "no outbox is installed: run analytics-refreshd migrate --warehouse"


def test_what_waits_is_in_the_state() -> None:
    """Of a replica in any role."""
    feeding = Feeding(Sent, role=Role.STANDBY)
    seen = []
    for outbox in (OUTBOX, None):
        feeding.outbox = outbox
        feeding.forwarder.read()
        seen.append(feeding.state.current.warehouse)
    assert seen == [OUTBOX, None]
    feeding.forwarder.stop()
    assert feeding.stopped == 1
