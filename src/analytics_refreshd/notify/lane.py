"""One receiver's bounded queue and thread, so that a broken receiver holds up nobody else."""

import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_when_event_set
from tenacity.nap import sleep_using_event

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.ports import Clock, EventLog, Metrics
from analytics_refreshd.notify.exchange import Answer, BadRequest, Exchanger, Request, Unreachable, address
from analytics_refreshd.notify.messages import Message, timestamp
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings

_PASSING = frozenset({408, 425, 429})
_LONGEST_PAUSE_SECONDS = 300.0


class Channel(Protocol):
    """How one kind of receiver is spoken to."""

    settings: DeliverySettings

    def request(self, message: Message, url: str) -> Request:
        """The request that carries `message`, made anew for every try. Raises BadRequest."""


class TryAgain(Exception):
    """This try failed in a way that may pass; `wait_seconds` is what the receiver asked for."""

    def __init__(self, problem: str, wait_seconds: float | None = None) -> None:
        super().__init__(problem)
        self.wait_seconds = wait_seconds


class Refused(Exception):
    """The receiver will not take this message, however often it is sent."""


@dataclass(slots=True)
class _Trouble:
    """A message that failed: how often in a row, and from when on the monotonic clock it may be planned again."""

    times: int
    again_from: float


class Lane:
    """Sends messages one after another. `delivered` is called in the lane's thread after each success.

    `before` is called in the lane's thread whenever it wakes, to read the ledger and plan what waits for it.
    """

    def __init__(
        self,
        receiver: ReceiverSettings,
        channel: Channel,
        settings: DeliverySettings,
        *,
        log: EventLog,
        metrics: Metrics,
        clock: Clock,
        before: Callable[[], None] = lambda: None,
        delivered: Callable[[Message], None] = lambda message: None,
    ) -> None:
        self.receiver = receiver
        self._channel = channel
        self._settings = settings
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._before = before
        self._delivered = delivered
        self._exchanger = Exchanger()
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._lock = threading.Condition()
        self._queue: deque[Message] = deque()
        self._current: Message | None = None
        self._troubles: dict[tuple[str, str], _Trouble] = {}
        self._woken = False
        self._stopping = threading.Event()
        self._stop_until = float("inf")
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._host = ""
        self.state = "nothing was sent yet"

    # -- called by other threads -----------------------------------------------------------------------------

    def configure(self, settings: DeliverySettings) -> None:
        """Go by other settings from the next message on."""
        self._settings = self._channel.settings = settings

    def offer(self, message: Message) -> None:
        """Queue a message; where the queue is full its oldest is dropped and counted."""
        with self._lock:
            if self._stopping.is_set():
                return
            if message.replaces:
                self._queue = deque(waiting for waiting in self._queue if not waiting.replaces)
            dropped = self._queue.popleft() if len(self._queue) >= self._settings.queue_length else None
            self._queue.append(message)
        if dropped is not None:
            self._failed(dropped, "the queue was full", tries=0)
        self.wake()

    def wake(self) -> None:
        """Let the thread look for work; it is started by the first call."""
        with self._lock:
            self._woken = True
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name=f"deliver-{self.receiver.name}", daemon=True)
                self._thread.start()
            self._lock.notify_all()

    def guarded(self, work: Callable[[], None]) -> None:
        """Do `work`; a mistake of ours in it ends no thread and no evaluation, but is counted and logged."""
        try:
            work()
        except Exception as error:
            self._failed(Message(), f"internal error: {type(error).__name__}", tries=0)

    def on_the_way(self) -> set[tuple[str, str]]:
        """Alert keys and statuses that wait, are being sent, or failed and may not be tried again yet."""
        with self._lock:
            now = self._clock.monotonic()
            waiting = [*self._queue, *([self._current] if self._current else [])]
            held = {pair for pair, trouble in self._troubles.items() if trouble.again_from > now}
        return held | {(item.key, item.status) for message in waiting for item in message.notices}

    def finish(self, until: float) -> None:
        """Send what waits, each message once more at most, until that moment on the monotonic clock."""
        self._stop_until = until
        self._stopping.set()
        with self._lock:
            self._lock.notify_all()

    def join(self) -> None:
        """Wait for the thread's end until the moment given to `finish`, then cut what is under way."""
        if self._thread is None:
            return
        self._thread.join(max(0.0, self._stop_until - self._clock.monotonic()))
        if self._thread.is_alive():
            self._exchanger.abort()
            self._thread.join(1.0)

    # -- the lane's own thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._lock:
                while not (self._woken or self._queue or self._stopping.is_set()):
                    self._lock.wait()
                self._woken = False
            if not self._stopping.is_set():
                self.guarded(self._before)
            with self._lock:
                over = self._clock.monotonic() >= self._stop_until
                if self._stopping.is_set() and (over or not self._queue):
                    return
                if not self._queue:
                    continue
                self._current = self._queue.popleft()
            self._send(self._current)
            with self._lock:
                self._current = None

    def _send(self, message: Message) -> None:
        retrying = Retrying(
            retry=retry_if_exception_type(TryAgain),
            stop=stop_after_attempt(self._settings.tries) | stop_when_event_set(self._stopping),
            wait=self._wait_seconds,
            sleep=sleep_using_event(self._stopping),
            reraise=True,
        )
        try:
            retrying(self._try, message)
        except (TryAgain, Refused) as error:
            tries = int(retrying.statistics.get("attempt_number", 1))
            self._failed(message, str(error), tries=tries, for_good=isinstance(error, Refused))
        except Exception as error:  # a mistake of ours must not end the thread
            self._failed(message, f"internal error: {type(error).__name__}", tries=1)
        else:
            self._accepted(message, int(retrying.statistics.get("attempt_number", 1)))

    def _wait_seconds(self, state: RetryCallState) -> float:
        """Exponential with jitter; longer where the receiver asked for it, up to the cap."""
        settings = self._settings
        ceiling = min(settings.longest_wait_seconds, settings.first_wait_seconds * 2.0**state.attempt_number)
        delay = ceiling / 2 + self._random.random() * ceiling / 2
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait_seconds if isinstance(error, TryAgain) else None
        return max(delay, min(asked, settings.retry_after_cap_seconds)) if asked is not None else delay

    def _try(self, message: Message) -> None:
        left = self._stop_until - self._clock.monotonic()
        if left <= 0:
            raise TryAgain("the daemon stopped first")
        try:
            url = self.receiver.url or read_secret(self.receiver.url_file, "address")
            parsed = address(url)
            self._host = parsed.netloc or ""
            request = self._channel.request(message, url)
            answer = self._exchanger.run(request, min(self.receiver.deadline_seconds, left))
        except BadRequest as error:
            raise Refused(str(error)) from error
        except Unreachable as error:
            raise TryAgain(str(error)) from error
        _judge(answer)

    def _accepted(self, message: Message, tries: int) -> None:
        with self._lock:
            self._failures = 0
            for pair in [(item.key, item.status) for item in message.notices]:
                self._troubles.pop(pair, None)
        self.state = f"delivered {timestamp(self._clock.now())}"
        self._metrics.delivered(self.receiver.name)
        for item in message.news:
            self._log.emit(
                Event.ALERT_DELIVERED,
                receiver=self.receiver.name,
                host=self._host,
                alert=item.alert,
                view=item.view or None,
                status="firing" if item.firing else "resolved",
                severity=item.severity,
                key=item.key,
                tries=tries,
            )
        self._delivered(message)

    def _pause_seconds(self, times: int, *, replaces: bool, for_good: bool) -> float:
        """After how long a failed message may be planned again: soon where the receiver would else forget."""
        again = self._settings.failed_again_seconds
        if for_good and not replaces:
            return self._settings.repeat_every_seconds
        if replaces and not for_good:
            return again
        return min(_LONGEST_PAUSE_SECONDS, again * 2.0 ** min(times - 1, 16))

    def _failed(self, message: Message, problem: str, *, tries: int, for_good: bool = False) -> None:
        """Count; log the first failure in a row and then ever more rarely; hold the message back for ever longer."""
        monotonic = self._clock.monotonic()
        with self._lock:
            self._failures += 1
            failures = self._failures
            for pair in [(item.key, item.status) for item in message.notices]:
                times = self._troubles[pair].times + 1 if pair in self._troubles else 1
                pause = self._pause_seconds(times, replaces=message.replaces, for_good=for_good)
                self._troubles[pair] = _Trouble(times, monotonic + pause)
            while len(self._troubles) > 10 * self._settings.queue_length:
                del self._troubles[next(iter(self._troubles))]
        self.state = f"failing, {failures} in a row, last {timestamp(self._clock.now())}: {problem}"
        self._metrics.delivery_failed(self.receiver.name)
        if failures & (failures - 1) == 0:
            first = message.notices[0] if message.notices else None
            self._log.emit(
                Event.ALERT_DELIVERY_FAILED,
                level="warning",
                receiver=self.receiver.name,
                host=self._host or None,
                alert=first.alert if first else None,
                view=first.view or None if first else None,
                key=first.key if first else None,
                phase=message.ping.phase if message.ping else None,
                error=problem,
                tries=tries,
                failures=failures,
            )


def read_secret(path: Path | None, what: str) -> str:
    """A secret's one line, read anew. Raises BadRequest, which names what is missing and not the secret."""
    try:
        text = path.read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"the file with its {what} cannot be read") from error
    if not text or not text.isprintable():
        raise BadRequest(f"the file with its {what} does not hold one line of text")
    return text


def _judge(answer: Answer) -> None:
    if 200 <= answer.status < 300:
        return
    if answer.status >= 500 or answer.status in _PASSING:
        raise TryAgain(f"HTTP {answer.status}", answer.retry_after_seconds)
    if 300 <= answer.status < 400:
        raise Refused(f"HTTP {answer.status}: redirects are not followed; configure the address it leads to")
    raise Refused(f"HTTP {answer.status}")
