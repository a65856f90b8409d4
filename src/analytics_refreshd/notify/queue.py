"""Sends one receiver's messages. Each has its own queue and thread, so that a broken one delays no other."""

import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_when_event_set
from tenacity.nap import sleep_using_event

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.metrics import ALERT_DELIVERIES, ALERT_DELIVERY_FAILURES
from analytics_refreshd.core.ports import Clock, EventLog, Metrics
from analytics_refreshd.notify.exchange import Exchanger, Unreachable, address
from analytics_refreshd.notify.messages import Message, timestamp
from analytics_refreshd.notify.receiver import Receiver
from analytics_refreshd.notify.request import BadRequest
from analytics_refreshd.notify.retry import RejectedError, RetryableError, check_answer, hold_seconds, wait_seconds
from analytics_refreshd.notify.settings import DeliverySettings


@dataclass(slots=True)
class _Failure:
    """Count failures in a row. The message waits until `again_from` on the monotonic clock."""

    times: int
    again_from: float


class DeliveryQueue:
    """Send one receiver's messages in order, in a thread of its own.

    The thread calls `before` whenever it wakes, to plan messages, and `delivered` after each success.
    """

    def __init__(
        self,
        receiver: Receiver[Any],
        settings: DeliverySettings,
        *,
        log: EventLog,
        metrics: Metrics,
        clock: Clock,
        before: Callable[[], None] = lambda: None,
        delivered: Callable[[Message], None] = lambda message: None,
    ) -> None:
        self.name = receiver.settings.name
        self.state = "nothing was sent yet"
        self._receiver = receiver
        self._settings = settings
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._before = before
        self._delivered = delivered
        self._exchanger = Exchanger()
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._lock = threading.Condition()
        self._waiting: deque[Message] = deque()
        self._current: Message | None = None
        self._failed_before: dict[tuple[str, str], _Failure] = {}
        self._woken = False
        self._stopping = threading.Event()
        self._stop_until = float("inf")
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._host = ""

    # -- called by other threads -----------------------------------------------------------------------------

    def configure(self, settings: DeliverySettings) -> None:
        """Use other settings from the next message on."""
        self._settings = self._receiver.delivery = settings

    def offer(self, message: Message) -> None:
        """Queue a message. A full queue drops its oldest, which is counted and logged."""
        most = self._receiver.queue_length or self._settings.queue_length
        with self._lock:
            if self._stopping.is_set():
                return
            if message.replaces:
                self._waiting = deque(waiting for waiting in self._waiting if not waiting.replaces)
            dropped = self._waiting.popleft() if len(self._waiting) >= most else None
            self._waiting.append(message)
        if dropped is not None:
            self._failed(dropped, "the queue was full", tries=0)
        self.wake()

    def wake(self) -> None:
        """Let the thread look for work. The first call starts it."""
        with self._lock:
            self._woken = True
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name=f"deliver-{self.name}", daemon=True)
                self._thread.start()
            self._lock.notify_all()

    def guarded(self, work: Callable[[], None]) -> None:
        """Do `work`. Count and log an unexpected error, so that it ends neither thread nor evaluation."""
        try:
            work()
        except Exception as error:
            self._failed(Message(), f"internal error: {type(error).__name__}", tries=0)

    def in_flight(self) -> frozenset[tuple[str, str]]:
        """Return the alert keys and statuses under way. They wait, are being sent, or are held back after a failure."""
        with self._lock:
            now = self._clock.monotonic()
            waiting = [*self._waiting, *([self._current] if self._current else [])]
            held = {pair for pair, failure in self._failed_before.items() if failure.again_from > now}
        return frozenset(held | {(item.key, item.status) for message in waiting for item in message.notifications})

    def finish(self, until: float) -> None:
        """Send each waiting message once more at most. `until` is on the monotonic clock."""
        self._stop_until = until
        self._stopping.set()
        with self._lock:
            self._lock.notify_all()

    def join(self) -> None:
        """Wait for the thread until the moment given to `finish`. Then cut the exchange under way."""
        if self._thread is None:
            return
        self._thread.join(max(0.0, self._stop_until - self._clock.monotonic()))
        if self._thread.is_alive():
            self._exchanger.abort()
            self._thread.join(1.0)

    # -- the queue's own thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._lock:
                while not (self._woken or self._waiting or self._stopping.is_set()):
                    self._lock.wait()
                self._woken = False
            if not self._stopping.is_set():
                self.guarded(self._before)
            with self._lock:
                over = self._clock.monotonic() >= self._stop_until
                if self._stopping.is_set() and (over or not self._waiting):
                    return
                if not self._waiting:
                    continue
                self._current = self._waiting.popleft()
            self._send(self._current)
            with self._lock:
                self._current = None

    def _send(self, message: Message) -> None:
        retrying = Retrying(
            retry=retry_if_exception_type(RetryableError),
            stop=stop_after_attempt(self._settings.tries) | stop_when_event_set(self._stopping),
            wait=self._wait_seconds,
            sleep=sleep_using_event(self._stopping),
            reraise=True,
        )
        try:
            retrying(self._try, message)
        except (RetryableError, RejectedError) as error:
            tries = int(retrying.statistics.get("attempt_number", 1))
            self._failed(message, str(error), tries=tries, rejected=isinstance(error, RejectedError))
        except Exception as error:  # an unexpected error must not end the thread
            self._failed(message, f"internal error: {type(error).__name__}", tries=1)
        else:
            tries = int(retrying.statistics.get("attempt_number", 1))
            self.guarded(lambda: self._accepted(message, tries))

    def _wait_seconds(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait_seconds if isinstance(error, RetryableError) else None
        return wait_seconds(self._settings, state.attempt_number, self._random.random(), asked)

    def _try(self, message: Message) -> None:
        left = self._stop_until - self._clock.monotonic()
        if left <= 0:
            raise RetryableError("the daemon stopped first")
        try:
            url = self._receiver.url()
            parsed = address(url)
            self._host = parsed.netloc or ""
            request = self._receiver.request(message, url)
            answer = self._exchanger.run(request, min(self._receiver.settings.deadline_seconds, left))
        except BadRequest as error:
            raise RejectedError(str(error)) from error
        except Unreachable as error:
            raise RetryableError(str(error)) from error
        check_answer(answer)

    def _accepted(self, message: Message, tries: int) -> None:
        with self._lock:
            self._failures = 0
            for item in message.notifications:
                self._failed_before.pop((item.key, item.status), None)
        self.state = f"delivered {timestamp(self._clock.now())}"
        self._metrics.count(ALERT_DELIVERIES, receiver=self.name)
        for item in message.logged:
            self._log.emit(
                Event.ALERT_DELIVERED,
                receiver=self.name,
                host=self._host,
                alert=item.alert,
                view=item.view or None,
                status="firing" if item.firing else "resolved",
                severity=item.severity,
                key=item.key,
                tries=tries,
            )
        self._delivered(message)

    def _failed(self, message: Message, problem: str, *, tries: int, rejected: bool = False) -> None:
        """Count the failure and hold the message back. Log the first in a row, then ever more rarely."""
        failures = self._hold_back(message, rejected=rejected)
        self.state = f"failing, {failures} in a row, last {timestamp(self._clock.now())}: {problem}"
        self._metrics.count(ALERT_DELIVERY_FAILURES, receiver=self.name)
        if failures & (failures - 1) == 0:
            first = message.notifications[0] if message.notifications else None
            self._log.emit(
                Event.ALERT_DELIVERY_FAILED,
                level="warning",
                receiver=self.name,
                host=self._host or None,
                alert=first.alert if first else None,
                view=first.view or None if first else None,
                key=first.key if first else None,
                phase=message.ping.phase if message.ping else None,
                error=problem,
                tries=tries,
                failures=failures,
            )

    def _hold_back(self, message: Message, *, rejected: bool) -> int:
        """Note when the message's alerts may be planned again. Returns the receiver's failures in a row."""
        monotonic = self._clock.monotonic()
        with self._lock:
            self._failures += 1
            for pair in [(item.key, item.status) for item in message.notifications]:
                times = self._failed_before[pair].times + 1 if pair in self._failed_before else 1
                pause = hold_seconds(self._settings, times, replaces=message.replaces, rejected=rejected)
                self._failed_before[pair] = _Failure(times, monotonic + pause)
            while len(self._failed_before) > 10 * self._settings.queue_length:
                del self._failed_before[next(iter(self._failed_before))]
            return self._failures
