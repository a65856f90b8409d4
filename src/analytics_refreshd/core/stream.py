"""Decides what is sent to the listeners of the stream: which events, in which order, and when enough is enough."""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

_Who = TypeVar("_Who")
Audience = tuple[str, ...] | None
"""The organizations that a listener sees, sorted. None is all of them."""
RECENT_EVENTS = 64
"""How many events of a channel are kept for who comes back."""
MOST_WAITING = 64
"""How many events may wait for a listener, beside the newest summary."""
_EVENT_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})")
_PERIOD_SECONDS = 1.0
_MOST_PAUSE_SECONDS = 30.0
_REST = 3
"""How many times as long as it read the poller rests."""


class Topic(StrEnum):
    """What a listener can hear of."""

    SUMMARY = "summary"
    REFRESH = "refresh"
    ALERTS = "alerts"


class Ending(StrEnum):
    """Why a stream ended. Its last event says so, except for `GONE`."""

    GONE = "gone"
    SLOW = "slow"
    ACCESS = "access"
    STOPPING = "stopping"


TOLD: Mapping[Ending, str] = {
    Ending.SLOW: "this stream was not read fast enough: connect again",
    Ending.ACCESS: "the access of this key or token ended or changed: connect again",
    Ending.STOPPING: "the server is stopping: connect again",
}
"""What the last event says."""


class TopicError(ValueError):
    """A topic that is not known, or none."""


class ForbiddenTopicError(ValueError):
    """A topic that this listener may not hear of."""


def topics_of(asked: str | None, *, trusted: bool) -> tuple[Topic, ...]:
    """Return the topics that a parameter names, in their own order.

    Without it they are summary and refresh. Only operators and platform administrators are `trusted`, and hear of
    alerts. Raises TopicError and ForbiddenTopicError.
    """
    if asked is None:
        return (Topic.SUMMARY, Topic.REFRESH)
    names = {name.strip() for name in asked.split(",")}
    unknown = names - set(Topic)
    if unknown:
        raise TopicError(f"topics must be some of {', '.join(Topic)}, with commas between")
    if Topic.ALERTS in names and not trusted:
        raise ForbiddenTopicError("alerts are for operators and platform administrators")
    return tuple(topic for topic in Topic if topic in names)


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is sent. `number` grows over all channels; `wire` are its bytes."""

    number: int
    topic: Topic
    wire: bytes


@dataclass(slots=True)
class Channel:
    """The events of one topic for one audience.

    `began` is the number that the next event had when listening to it began: who heard of an earlier one may have
    missed some. `told` is what the last event said, apart from when it was made.
    """

    began: int
    told: object = None
    recent: deque[Event] = field(default_factory=lambda: deque(maxlen=RECENT_EVENTS))

    def news(self, says: object) -> bool:
        """Whether this is new. It counts as said from now on."""
        if self.recent and says == self.told:
            return False
        self.told = says
        return True

    def first(self) -> list[Event]:
        """Return what a new listener gets: how things stand."""
        return [self.recent[-1]] if self.recent else []

    def missed(self, number: int) -> list[Event] | None:
        """Return the events after `number`. None: some may be known to nobody any more.

        Of summaries only the newest counts.
        """
        if number < self.began:
            return None
        later = [event for event in self.recent if event.number > number]
        if later and later[-1].topic is Topic.SUMMARY:
            return later[-1:]
        return None if len(later) == RECENT_EVENTS else later


class Outbox:
    """The events that wait for one listener. Of summaries the newest alone waits."""

    def __init__(self) -> None:
        self._waiting: list[Event] = []

    def put(self, event: Event) -> bool:
        """Add an event; return False where more wait than may."""
        if event.topic is Topic.SUMMARY:
            self._waiting = [each for each in self._waiting if each.topic is not Topic.SUMMARY]
        self._waiting.append(event)
        return len(self._waiting) <= MOST_WAITING

    def take(self) -> list[Event]:
        """Return the events that wait, the oldest first, and forget them."""
        taken, self._waiting = self._waiting, []
        return taken


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many streams a process serves, in all and to one key."""

    streams: int = 1000
    per_key: int = 20


class Full(StrEnum):
    """Which limit keeps a stream from being opened."""

    PROCESS = "process"
    KEY = "key"


def full(limits: StreamLimits, open_streams: int, of_key: int) -> Full | None:
    """Return which limit is reached. None: one more may be opened."""
    if of_key >= limits.per_key:
        return Full.KEY
    return Full.PROCESS if open_streams >= limits.streams else None


def event_id(epoch: str, number: int) -> str:
    """Return the id of an event; `epoch` names the process."""
    return f"{epoch}-{number}"


def resumed(epoch: str, last_event_id: str | None) -> int | None:
    """Return the number of the last event that a client has. None: none of this process."""
    found = _EVENT_ID.fullmatch(last_event_id or "")
    return int(found[2]) if found and found[1] == epoch else None


def backlog(channels: Sequence[Channel], number: int | None) -> tuple[list[Event], bool]:
    """Return the first events, and whether they continue what was heard.

    Where one channel cannot be continued, its newest event stands for all that was missed.
    """
    found: list[Event] = []
    continued = number is not None
    for channel in channels:
        missed = None if number is None else channel.missed(number)
        continued = continued and missed is not None
        found += channel.first() if missed is None else missed
    return sorted(found, key=lambda event: event.number), continued


def pause_seconds(turn_seconds: float) -> float:
    """Return how long to wait after a turn.

    A turn begins every second, or later where reading took long.
    """
    return min(_MOST_PAUSE_SECONDS, max(_PERIOD_SECONDS - turn_seconds, _REST * turn_seconds))


def overdue(checked_at: Iterable[tuple[_Who, float]], now: float, every_seconds: float, most: int) -> list[_Who]:
    """Return whose access to check again, the longest unchecked first."""
    due = sorted((each for each in checked_at if now - each[1] >= every_seconds), key=lambda each: each[1])
    return [who for who, _ in due[:most]]
