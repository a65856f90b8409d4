"""Alerts and heartbeats to every configured receiver, each in its own thread; implements `core.ports.Notifier`."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState
from analytics_refreshd.core.model import Run
from analytics_refreshd.core.ports import Clock, DeliveryStore, EventLog, Metrics
from analytics_refreshd.notify import alertmanager, webhook
from analytics_refreshd.notify.alertmanager import AlertmanagerChannel, resend_seconds
from analytics_refreshd.notify.heartbeat import HeartbeatChannel, worth_a_ping
from analytics_refreshd.notify.lane import Channel, Lane
from analytics_refreshd.notify.ledger import Ledger
from analytics_refreshd.notify.messages import Message, Notice, Ping, notice
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings
from analytics_refreshd.notify.webhook import WebhookChannel

_PINGS_WAITING = 4
_KEYS_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one evaluation handed over. `held` fires too, but is somebody else's symptom."""

    told: tuple[Notice, ...]
    held: tuple[Notice, ...]


class Delivery:
    """Plans what each receiver must be told and hands it to that receiver's lane.

    A message is planned until a receiver has accepted it, so delivery is at least once; the ledger keeps a new leader
    from telling again what the old one told. Nothing is planned for a replica that does not call `alerts`.
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
        self._ledger = Ledger(store, clock)
        self._desks: list[_Desk] = []
        self._hearts: list[Lane] = []
        for receiver in receivers:
            if receiver.type == "heartbeat":
                few = replace(settings, queue_length=_PINGS_WAITING)
                lane = Lane(receiver, HeartbeatChannel(receiver, settings), few, log=log, metrics=metrics, clock=clock)
                self._hearts.append(lane)
            else:
                self._desks.append(_Desk(receiver, settings, self._ledger, log=log, metrics=metrics, clock=clock))

    def configure(self, settings: DeliverySettings) -> None:
        """Go by other settings from now on; heartbeats depend on none that can change while running."""
        self._settings = settings
        for desk in self._desks:
            desk.configure(settings)

    def alerts(self, records: Sequence[AlertRecord], *, inhibited: Sequence[AlertRecord]) -> None:
        """Take over the whole of what fires or was resolved lately. `inhibited` is neither told nor resolved."""
        told = tuple(notice(item, self._settings) for item in records if item.state is not AlertState.PENDING)
        held = tuple(notice(item, self._settings) for item in inhibited if item.state is AlertState.FIRING)
        for desk in self._desks:
            desk.take(_Snapshot(told, held))

    def adopt(self) -> None:
        """As `core.ports.Notifier.adopt`."""
        self._ledger.outdate()

    def cycle(self, phase: str, run: Run | None) -> None:
        """Ping the heartbeat receivers: `start`, `success` or `fail`."""
        if worth_a_ping(phase, run):
            for lane in self._hearts:
                lane.offer(Message(ping=Ping(phase, run)))

    def stop(self, deadline_seconds: float) -> None:
        """Send what waits, each message once at most, and end the threads within the deadline and a second."""
        lanes = [desk.lane for desk in self._desks] + self._hearts
        until = self._clock.monotonic() + deadline_seconds
        for lane in lanes:
            lane.finish(until)
        for lane in lanes:
            lane.join()

    def status(self) -> Mapping[str, str]:
        """Each receiver's last delivery or failure in words, by name."""
        return {lane.receiver.name: lane.state for lane in [*(desk.lane for desk in self._desks), *self._hearts]}


class _Desk:
    """Plans for one receiver of alerts, in its lane's thread, from the latest snapshot."""

    def __init__(
        self,
        receiver: ReceiverSettings,
        settings: DeliverySettings,
        ledger: Ledger,
        *,
        log: EventLog,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot: _Snapshot | None = None
        self._offered: dict[str, None] = {}
        self._posted_at: float | None = None
        self._name = receiver.name
        channel: Channel
        self._plan: Callable[[_Snapshot], list[Message]]
        if receiver.type == "alertmanager":
            channel, self._plan = AlertmanagerChannel(receiver, settings, clock), self._plan_post
        else:
            channel, self._plan = WebhookChannel(receiver, settings, clock), self._plan_messages
        self.lane = Lane(
            receiver,
            channel,
            settings,
            log=log,
            metrics=metrics,
            clock=clock,
            before=self._look,
            delivered=self._delivered,
        )

    def configure(self, settings: DeliverySettings) -> None:
        """Plan and send by other settings from now on."""
        self._settings = settings
        self.lane.configure(settings)

    def take(self, snapshot: _Snapshot) -> None:
        """Plan from `snapshot` soon. Where the ledger was read, at once, so that nothing short is missed."""
        with self._lock:
            self._snapshot = snapshot
        if self._ledger.ready:
            self.lane.guarded(self._plan_now)
        self.lane.wake()

    def _look(self) -> None:
        if not self._ledger.ready:
            self._ledger.load()
        self._plan_now()
        self._ledger.save()

    def _plan_now(self) -> None:
        with self._lock:
            snapshot, self._snapshot = self._snapshot, None
            if snapshot is None:
                return
            for message in self._plan(snapshot if self._ledger.ready else self._certain(snapshot)):
                for item in message.notices:
                    if item.firing:
                        self._offered[item.key] = None
                while len(self._offered) > _KEYS_REMEMBERED:
                    del self._offered[next(iter(self._offered))]
                self.lane.offer(message)

    def _certain(self, snapshot: _Snapshot) -> _Snapshot:
        """What needs no ledger: that the database is away, which may be why it was not read, and what began here.

        The rest may have been told by another replica, and waits for an evaluation that knows.
        """

        def certain(item: Notice) -> bool:
            return item.alert == Alert.DATABASE_UNAVAILABLE or item.key in self._offered

        return _Snapshot(tuple(filter(certain, snapshot.told)), tuple(filter(certain, snapshot.held)))

    def _plan_messages(self, snapshot: _Snapshot) -> list[Message]:
        return webhook.plan(
            snapshot.told,
            self._ledger.told(self._name),
            self.lane.on_the_way(),
            set(self._offered),
            self._clock.now(),
            self._settings.repeat_every_seconds,
        )

    def _plan_post(self, snapshot: _Snapshot) -> list[Message]:
        every = resend_seconds(self._settings)
        late = self._posted_at is None or self._clock.monotonic() - self._posted_at >= 0.9 * every
        on_the_way = self.lane.on_the_way()
        busy = {key for key, _ in on_the_way} & {item.key for item in (*snapshot.told, *snapshot.held)}
        return alertmanager.plan(
            snapshot.told,
            snapshot.held,
            self._ledger.told(self._name),
            on_the_way,
            set(self._offered),
            resend=late and not busy,
        )

    def _delivered(self, message: Message) -> None:
        self._posted_at = self._clock.monotonic()
        told = self._ledger.told(self._name)
        pairs = [(item.key, item.status) for item in message.notices]
        # A post that repeats moves no record: the Alertmanager's own memory is what counts there.
        self._ledger.note(self._name, [pair for pair in pairs if not message.replaces or pair not in told])
