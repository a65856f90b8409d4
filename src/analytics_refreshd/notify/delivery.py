"""Delivers alerts and heartbeats to every configured receiver; implements `core.ports.Notifier`."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState
from analytics_refreshd.core.model import Run
from analytics_refreshd.core.ports import Clock, DeliveryStore, EventLog, Metrics
from analytics_refreshd.notify.deduplication import DeliveryCache
from analytics_refreshd.notify.messages import Message, Notification, notification
from analytics_refreshd.notify.planning import PlanInput
from analytics_refreshd.notify.queue import DeliveryQueue
from analytics_refreshd.notify.receiver import AlertReceiver, CycleReceiver
from analytics_refreshd.notify.receivers import build
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings

_KEYS_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one evaluation handed over. `inhibited` alerts fire too, as symptoms of another."""

    notifications: tuple[Notification, ...]
    inhibited: tuple[Notification, ...]


class Delivery:
    """Plan what each receiver is due, and queue it.

    A message is planned until the receiver has accepted it, so delivery is at least once. The delivery cache keeps a
    new leader from sending again what the old one sent. Nothing is planned for a replica that does not call `alerts`.
    """

    def __init__(
        self,
        receivers: Sequence[ReceiverSettings],
        settings: DeliverySettings,
        *,
        store: DeliveryStore,
        log: EventLog,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._cache = DeliveryCache(store, clock)
        self._planners: list[_Planner] = []
        self._heartbeats: list[tuple[CycleReceiver[Any], DeliveryQueue]] = []
        for each in receivers:
            receiver = build(each, settings, clock)
            if isinstance(receiver, AlertReceiver):
                planner = _Planner(receiver, settings, self._cache, log=log, metrics=metrics, clock=clock)
                self._planners.append(planner)
            if isinstance(receiver, CycleReceiver):
                queue = DeliveryQueue(receiver, settings, log=log, metrics=metrics, clock=clock)
                self._heartbeats.append((receiver, queue))

    @property
    def queues(self) -> list[DeliveryQueue]:
        """Every receiver's queue, those of alerts first."""
        return [planner.queue for planner in self._planners] + [queue for _, queue in self._heartbeats]

    def configure(self, settings: DeliverySettings) -> None:
        """Use other settings from now on. Heartbeats use none that can change while running."""
        self._settings = settings
        for planner in self._planners:
            planner.queue.configure(settings)

    def alerts(self, records: Sequence[AlertRecord], *, inhibited: Sequence[AlertRecord]) -> None:
        """Take over all alerts that fire or were resolved lately. `inhibited` ones are neither sent nor resolved."""
        sent = tuple(notification(item, self._settings) for item in records if item.state is not AlertState.PENDING)
        held = tuple(notification(item, self._settings) for item in inhibited if item.state is AlertState.FIRING)
        for planner in self._planners:
            planner.take(_Snapshot(sent, held))

    def invalidate(self) -> None:
        """Read the delivery store before the next plan, as `core.ports.Notifier.invalidate`."""
        self._cache.invalidate()

    def heartbeat(self, phase: str, run: Run | None) -> None:
        """Ping the heartbeat receivers: `start`, `success` or `fail`."""
        for receiver, queue in self._heartbeats:
            message = receiver.ping(phase, run)
            if message is not None:
                queue.offer(message)

    def stop(self, deadline_seconds: float) -> None:
        """Send each waiting message once at most. End the threads within the deadline and a second."""
        until = self._clock.monotonic() + deadline_seconds
        queues = self.queues
        for queue in queues:
            queue.finish(until)
        for queue in queues:
            queue.join()

    def status(self) -> Mapping[str, str]:
        """Return each receiver's last delivery or failure in words, by name."""
        return {queue.name: queue.state for queue in self.queues}


class _Planner:
    """Plan one receiver's alerts from the latest snapshot, in its queue's thread."""

    def __init__(
        self,
        receiver: AlertReceiver[Any],
        settings: DeliverySettings,
        cache: DeliveryCache,
        *,
        log: EventLog,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._receiver = receiver
        self._name = receiver.settings.name
        self._cache = cache
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot: _Snapshot | None = None
        self._offered: dict[str, None] = {}
        self._delivered_at: float | None = None
        self.queue = DeliveryQueue(
            receiver,
            settings,
            log=log,
            metrics=metrics,
            clock=clock,
            before=self._before,
            delivered=self._delivered,
        )

    def take(self, snapshot: _Snapshot) -> None:
        """Plan from `snapshot` soon. If the cache is ready, plan now, so that a short alert is not missed."""
        with self._lock:
            self._snapshot = snapshot
        if self._cache.ready:
            self.queue.guarded(self._plan)
        self.queue.wake()

    def _before(self) -> None:
        if not self._cache.ready:
            self._cache.load()
        self._plan()
        self._cache.save()

    def _plan(self) -> None:
        with self._lock:
            snapshot, self._snapshot = self._snapshot, None
            if snapshot is None:
                return
            for message in self._receiver.plan(self._input(snapshot if self._cache.ready else self._certain(snapshot))):
                for item in message.notifications:
                    if item.firing:
                        self._offered[item.key] = None
                while len(self._offered) > _KEYS_REMEMBERED:
                    del self._offered[next(iter(self._offered))]
                self.queue.offer(message)

    def _input(self, snapshot: _Snapshot) -> PlanInput:
        at = self._delivered_at
        return PlanInput(
            notifications=snapshot.notifications,
            inhibited=snapshot.inhibited,
            delivered=self._cache.delivered(self._name),
            in_flight=self.queue.in_flight(),
            offered=frozenset(self._offered),
            now=self._clock.now(),
            since_delivery_seconds=self._clock.monotonic() - at if at is not None else None,
        )

    def _certain(self, snapshot: _Snapshot) -> _Snapshot:
        """Keep what can be sent without the cache.

        That is an unavailable database, and alerts whose firing this process queued. An unavailable database may be why
        the store was not read. Another replica may have sent the rest, which waits for an evaluation with a cache that
        is ready.
        """

        def certain(item: Notification) -> bool:
            return item.alert == Alert.DATABASE_UNAVAILABLE or item.key in self._offered

        return _Snapshot(tuple(filter(certain, snapshot.notifications)), tuple(filter(certain, snapshot.inhibited)))

    def _delivered(self, message: Message) -> None:
        self._delivered_at = self._clock.monotonic()
        delivered = self._cache.delivered(self._name)
        pairs = [(item.key, item.status) for item in message.notifications]
        # A repeated post moves no record: the Alertmanager's own state is what counts there.
        self._cache.record(self._name, [pair for pair in pairs if not message.replaces or pair not in delivered])
