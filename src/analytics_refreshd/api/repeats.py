"""Remembers for a second how requests were answered from memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from weakref import ReferenceType, ref

from analytics_refreshd.api.access.principal import Principal
from analytics_refreshd.api.cache import Answer, AnswerCache, Key, reply_of
from analytics_refreshd.api.engine import AnswerReader
from analytics_refreshd.api.exchange import Reply, Request
from analytics_refreshd.api.freshness import Known
from analytics_refreshd.api.keeping import Looked
from analytics_refreshd.api.routes import Route

MOST = 500
"""How many requests of a second are remembered."""
_LONGEST = 500
"""How many characters of a request are kept."""
Asks = tuple[object, ...]
"""All that a reply depends on, but for time and what is known."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """How a request was answered: by what `reader` knew, with which headers.

    `key` and `answer` are those of the cache, which alone keeps the answer; None: the client had it.
    """

    reader: AnswerReader
    known: Known
    headers: Mapping[str, str]
    key: Key | None = None
    answer: "ReferenceType[Answer] | None" = None

    @classmethod
    def of(cls, reader: AnswerReader, looked: Looked, reply: Reply) -> "Repeat":
        """Describe the reply that was found in memory."""
        if looked.kept is None:
            return cls(reader, looked.known, reply.headers)
        key, answer = looked.kept
        return cls(reader, looked.known, reply.headers, key, ref(answer))


class Repeats:
    """Answers equal requests of one second. Callable from any thread.

    Binding the query and making the tag again took two thirds of the application's CPU time for an answer from memory.
    What is known may not have changed, and the cache must have the answer still. A second is what `max-age` counts in;
    windows and slots move on with a whole one.
    """

    def __init__(self) -> None:
        self._kept: tuple[int, dict[Asks, Repeat]] = (0, {})

    def reply(self, asks: Asks, request: Request, now: datetime, cache: AnswerCache) -> Reply | None:
        """Return the reply to an equal request. None: it must be understood first."""
        second, kept = self._kept
        repeat = kept.get(asks) if second == int(now.timestamp()) else None
        if repeat is None or repeat.reader.known_now() != repeat.known:
            return None
        if repeat.key is None or repeat.answer is None:
            return Reply(304, b"", headers=dict(repeat.headers))
        answer = repeat.answer()
        if answer is None or cache.get(repeat.key, stale=answer.stale) is not answer:
            return None
        return reply_of(answer, request, repeat.headers)

    def note(self, asks: Asks, now: datetime, repeat: Repeat) -> None:
        """Remember a reply for the rest of the second."""
        if sum(len(str(part)) for part in asks[1:5]) > _LONGEST:
            return
        second, kept = self._kept
        if second != int(now.timestamp()):
            kept = {}
            self._kept = (int(now.timestamp()), kept)
        if len(kept) < MOST:
            kept[asks] = repeat


def asks_of(route: Route, request: Request, principal: Principal) -> Asks:
    """Return what a request asks, and for whom."""
    headers = request.headers
    sent = (headers.get("accept"), headers.get("if-none-match"))
    return (route, request.path, tuple(request.items), *sent, request.unpacks, principal.organizations, principal.role)
