"""Brings events to listeners: a thread publishes, the server's loop sends."""

import asyncio
import secrets
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from analytics_refreshd.api.stream import wire
from analytics_refreshd.api.stream.documents import news
from analytics_refreshd.api.stream.listener import ChannelKey, Credentials, Listener, channel_key
from analytics_refreshd.api.stream.reading import Wanted
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.core.stream import (
    TOLD,
    Audience,
    Channel,
    Ending,
    Event,
    Full,
    StreamLimits,
    Topic,
    backlog,
    event_id,
    full,
    resumed,
)

HEARTBEAT_SECONDS = 15.0
LINGER_SECONDS = 15.0
"""How long a channel goes on without listeners: who lost the connection comes back to it."""
_RETRY_SECONDS = 3.0


class StreamFull(Exception):
    """No further stream may be opened."""

    def __init__(self, reached: Full) -> None:
        super().__init__(reached)
        self.reached = reached


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why figures cannot be read now, as problem documents say it."""

    error: str
    message: str


class Hub:
    """Knows the listeners and the channels. Every method may be called from any thread.

    `join`, `take` and `leave` belong to the server's loop, where listeners are woken.
    """

    def __init__(
        self,
        limits: StreamLimits,
        clock: Clock,
        *,
        linger_seconds: float = LINGER_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._linger_seconds = linger_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._epoch = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._channels: dict[ChannelKey, Channel] = {}
        self._hearing: dict[ChannelKey, set[Listener]] = {}
        self._left: dict[ChannelKey, float] = {}
        self._of_key: Counter[str] = Counter()
        self._troubles: dict[ChannelKey | None, Trouble] = {}
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._closed = False
        self.somebody = threading.Event()
        """Set when somebody listens to what nobody listened to before."""

    @property
    def open_streams(self) -> int:
        """Return how many listen."""
        return len(self._listeners)

    @property
    def closed(self) -> bool:
        """Whether no stream is opened any more."""
        return self._closed

    def join(self, listener: Listener) -> None:
        """Begin to send to a listener. Raises StreamFull."""
        who = _counted(listener)
        with self._lock:
            reached = full(self._limits, len(self._listeners), self._of_key[who])
            if reached is not None:
                raise StreamFull(reached)
            self._loop = asyncio.get_running_loop()
            if not self._listeners:
                self._beat_later(self._loop)
            self._listeners.add(listener)
            self._of_key[who] += 1
            if self._closed:
                listener.ending = Ending.STOPPING
            number = resumed(self._epoch, listener.last_event_id)
            for key in listener.channels:
                self._left.pop(key, None)
                if key not in self._channels:
                    self._channels[key], self._hearing[key] = Channel(self._number + 1), set()
                    self.somebody.set()
                self._hearing[key].add(listener)
            begun, continued = backlog([self._channels[key] for key in listener.channels], number)
            for event in begun:
                listener.outbox.put(event)
            opened = {
                "topics": list(listener.topics),
                "resumed": continued,
                "heartbeat_seconds": self._heartbeat_seconds,
            }
            # not all at once, after a restart
            retry = _RETRY_SECONDS * (1 + secrets.randbelow(1000) / 1000)
            listener.alone.append(wire.opening(opened, retry))
            trouble = self._trouble_of(listener)
            if trouble is not None:
                listener.alone.append(_database(trouble))
            listener.wake.set()

    def leave(self, listener: Listener) -> None:
        """Send no more to a listener."""
        who = _counted(listener)
        with self._lock:
            self._listeners.discard(listener)
            self._of_key[who] -= 1
            if not self._of_key[who]:
                del self._of_key[who]
            for key in listener.channels:
                self._hearing[key].discard(listener)
                if not self._hearing[key]:
                    self._left[key] = self._clock.monotonic()

    def take(self, listener: Listener) -> tuple[bytes, bool]:
        """Return the bytes to send, and whether they are the last."""
        with self._lock:
            events = [] if listener.held else listener.outbox.take()
            alone, listener.alone = listener.alone, []
            listener.events += len(events)
            ending = listener.ending
        last = [wire.event("end", {"reason": ending, "message": TOLD[ending]})] if ending in TOLD and ending else []
        return b"".join([*alone, *(event.wire for event in events), *last]), ending is not None

    def end(self, listeners: Iterable[Listener], ending: Ending) -> None:
        """Let streams end, and tell why."""
        with self._lock:
            ended = [each for each in listeners if each.ending is None]
            for each in ended:
                each.ending = ending
        self._wake(ended)

    def hold(self, listeners: Iterable[Listener], held: bool) -> None:
        """Send no events for now, or again."""
        with self._lock:
            changed = [each for each in listeners if each.held is not held]
            for each in changed:
                each.held = held
        self._wake(changed)

    def close(self) -> None:
        """End all streams, and open none any more."""
        with self._lock:
            self._closed = True
            everybody = list(self._listeners)
        self.somebody.set()
        self.end(everybody, Ending.STOPPING)

    def _beat_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._beat is not None:
            self._beat.cancel()
        self._beat = loop.call_later(self._heartbeat_seconds, self._heartbeat, loop)

    def _heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send a sign of life to everybody, and again as long as somebody listens."""
        with self._lock:
            for each in self._listeners:
                if not each.alone:
                    each.alone.append(wire.HEARTBEAT)
                each.wake.set()
            if self._listeners:
                self._beat_later(loop)

    def wanted(self) -> Wanted:
        """Return what somebody listens to. Channels that nobody came back to are forgotten."""
        now = self._clock.monotonic()
        with self._lock:
            self.somebody.clear()
            for key in [key for key, at in self._left.items() if now - at >= self._linger_seconds]:
                del self._left[key], self._channels[key], self._hearing[key]
                self._troubles.pop(key, None)
            keys = list(self._channels)
        return Wanted(
            tuple(audience for topic, audience, _ in keys if topic is Topic.SUMMARY),
            runs=(Topic.REFRESH, None, True) in keys,
            running=(Topic.REFRESH, None, False) in keys,
            alerts=(Topic.ALERTS, None, True) in keys,
        )

    def publish(self, topic: Topic, audience: Audience, document: Mapping[str, object]) -> None:
        """Send a document to who listens, if it says something new."""
        key = channel_key(topic, audience)
        slow: list[Listener] = []
        with self._lock:
            channel = self._channels.get(key)
            if channel is None or not channel.news(news(document)):
                return
            self._number += 1
            sent = wire.event(topic, document, event_id(self._epoch, self._number))
            event = Event(self._number, topic, sent)
            channel.recent.append(event)
            reached = list(self._hearing[key])
            for each in reached:
                if not each.outbox.put(event):
                    slow.append(each)
        self._wake(reached)
        self.end(slow, Ending.SLOW)

    def trouble(self, trouble: Trouble | None, audience: Audience | None = (), *, everybody: bool = False) -> None:
        """Tell that figures cannot be read, or can again: to everybody, or to who hears an audience's summary."""
        key = None if everybody else channel_key(Topic.SUMMARY, audience)
        with self._lock:
            if self._troubles.get(key) == trouble:
                return
            if trouble is None:
                del self._troubles[key]
            else:
                self._troubles[key] = trouble
            reached = list(self._listeners if key is None else self._hearing.get(key, ()))
            for each in reached:
                each.alone.append(_database(self._trouble_of(each)))
        self._wake(reached)

    def by_credentials(self) -> dict[Credentials, list[Listener]]:
        """Return the listeners by what they were admitted by."""
        found: dict[Credentials, list[Listener]] = {}
        with self._lock:
            for each in self._listeners:
                found.setdefault(each.credentials, []).append(each)
        return found

    def _trouble_of(self, listener: Listener) -> Trouble | None:
        return self._troubles.get(None) or next(
            (self._troubles[key] for key in listener.channels if key in self._troubles), None
        )

    def _wake(self, listeners: Sequence[Listener]) -> None:
        loop = self._loop
        if not listeners or loop is None:
            return

        def wake() -> None:
            for each in listeners:
                each.wake.set()

        # one call for all: each writes to the loop's socket
        with suppress(RuntimeError):  # the loop was closed just now
            loop.call_soon_threadsafe(wake)


def _database(trouble: Trouble | None) -> bytes:
    if trouble is None:
        return wire.event("database", {"available": True})
    return wire.event("database", {"available": False, "error": trouble.error, "message": trouble.message})


def _counted(listener: Listener) -> str:
    return listener.principal.key_id or f"address {listener.credentials.address}"
