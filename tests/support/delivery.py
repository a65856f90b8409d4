"""A running delivery with a clock that moves when told to, and the alerts to hand it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.ports import DeliveryStore
from analytics_refreshd.notify.delivery import Delivery, _Planner
from analytics_refreshd.notify.queue import DeliveryQueue
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings
from analytics_refreshd.postgres.state.alerts import PostgresDeliveryStore
from tests.support.fakes import FakeClock, FakeDeliveryStore, RecordingLog, RecordingMetrics
from tests.support.waiting import eventually

QUICK = DeliverySettings("shop", first_wait_seconds=0.01, longest_wait_seconds=0.02)


class Delivering:
    """A delivery with everything around it that a test looks at."""

    def __init__(
        self, delivery: Delivery, clock: FakeClock, store: DeliveryStore, log: RecordingLog, counts: RecordingMetrics
    ) -> None:
        self.delivery = delivery
        self.clock = clock
        self.store = store
        self.log = log
        self.counts = counts

    def evaluate(self, *records: AlertRecord, inhibited: Sequence[AlertRecord] = (), after: float = 30.0) -> None:
        """One evaluation, half a minute after the last."""
        self.clock.pass_by(after)
        self.delivery.alerts(records, inhibited=inhibited)

    def settle(self) -> None:
        """Wait until everything handed over was planned, and everything planned was sent or given up and logged."""
        eventually(lambda: all(self._planned(planner) for planner in self.delivery._planners))
        eventually(lambda: all(self._idle(queue) for queue in self.delivery.queues))

    @staticmethod
    def _planned(planner: _Planner) -> bool:
        with planner._lock:
            return planner._snapshot is None

    @staticmethod
    def _idle(queue: DeliveryQueue) -> bool:
        with queue._lock:
            return not queue._waiting and queue._current is None


@contextmanager
def delivering(
    *receivers: ReceiverSettings,
    settings: DeliverySettings = QUICK,
    clock: FakeClock | None = None,
    store: FakeDeliveryStore | PostgresDeliveryStore | None = None,
) -> Iterator[Delivering]:
    """A running delivery, stopped at the end; no thread of it may be left then."""
    clock, store, log, counts = clock or FakeClock(), store or FakeDeliveryStore(), RecordingLog(), RecordingMetrics()
    delivery = Delivery(receivers, settings, store=store, log=log, metrics=counts, clock=clock)
    try:
        yield Delivering(delivery, clock, store, log, counts)
    finally:
        delivery.stop(5.0)
        threads = [queue._thread for queue in delivery.queues]
        eventually(lambda: not any(thread.is_alive() for thread in threads if thread))


def alert(view: str = "v", state: AlertState = AlertState.FIRING, **changes: Any) -> AlertRecord:
    """A stale view's record, firing since an hour ago."""
    began = datetime.fromisoformat("2026-05-04T11:00:00+00:00")
    over = began + timedelta(minutes=50) if state is AlertState.RESOLVED else None
    record = AlertRecord(
        Alert.VIEW_STALE, view, state, Severity.WARNING, began, began, over, f"shop: {view} is old", "It is old."
    )
    return replace(record, **changes)


def resolved(record: AlertRecord, at: datetime) -> AlertRecord:
    """The record after the alert's end."""
    return replace(record, state=AlertState.RESOLVED, resolved_at=at)
