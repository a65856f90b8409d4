"""One client of the stream."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from analytics_refreshd.api.access.principal import Principal
from analytics_refreshd.core.stream import Audience, Ending, Outbox, Topic

ChannelKey = tuple[Topic, Audience, bool]
"""A topic, whose figures, and whether as a platform administrator hears of it."""
_SENT_BY_CLIENTS = ("x-api-key", "authorization", "x-organization-id")


@dataclass(frozen=True, slots=True)
class Credentials:
    """By which a listener was admitted: headers, the organization in the address, and the client's address."""

    headers: tuple[tuple[str, str], ...]
    organization_id: str | None
    address: str

    @classmethod
    def of(cls, headers: Mapping[str, str], organization_id: str | None, address: str) -> "Credentials":
        """Keep of a request what says who asks."""
        kept = tuple((name.lower(), value) for name, value in headers.items() if name.lower() in _SENT_BY_CLIENTS)
        return cls(kept, organization_id, address)


@dataclass(slots=True, eq=False)
class Listener:
    """A client that listens. The hub alone changes it.

    `alone` are bytes that are no event of a channel. While `held` it gets no events: its access cannot be checked.
    """

    principal: Principal
    topics: tuple[Topic, ...]
    credentials: Credentials
    request_id: str
    began: float
    checked_at: float
    last_event_id: str | None = None
    outbox: Outbox = field(default_factory=Outbox)
    alone: list[bytes] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ending: Ending | None = None
    held: bool = False
    events: int = 0
    channels: tuple[ChannelKey, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Note the channels. Those who hear the same share one."""
        organizations = self.principal.organizations
        audience = None if organizations is None else tuple(sorted(set(organizations)))
        self.channels = tuple(channel_key(topic, audience) for topic in self.topics)


def channel_key(topic: Topic, audience: Audience) -> ChannelKey:
    """Return the channel of a topic: summaries are of an audience, refreshes of two kinds, alerts of one."""
    if topic is Topic.SUMMARY:
        return topic, audience, audience is None
    return topic, None, topic is Topic.ALERTS or audience is None
