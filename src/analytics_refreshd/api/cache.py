"""Keeps answers, in bounded memory, for the same questions."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from analytics_refreshd.api.access.principal import AccessDenied, Principal
from analytics_refreshd.api.exchange import JSON, PACKED, Reply, Request
from analytics_refreshd.api.freshness import Known

MOST_ENTRIES = 10_000
LARGEST_BYTES = 1 << 20
"""A larger answer is not kept."""
_ENTRY_BYTES = 1000
"""About what an entry takes beside its body."""


@dataclass(frozen=True, slots=True)
class Key:
    """What an answer depends on: who may see it, and its ETag.

    The ETag is of all else. It has the views' last success: after a refresh nobody asks for the answers from before.
    """

    organizations: tuple[str, ...] | None
    role: str
    tag: str

    @classmethod
    def of(cls, principal: Principal, tag: str) -> "Key":
        """Return the key of an answer for who asks."""
        return cls(principal.organizations, principal.role, tag)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Answer:
    """An answer that can be given again.

    `total` is that of a list's rows, `stale` what the document says. `tag` None is not to be kept. `packed` is the body
    as gzip, where that is kept too.
    """

    body: bytes
    rows: int
    known: Known
    tag: str | None
    stale: bool = False
    total: int | None = None
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    packed: bytes | None = None


class AnswerCache:
    """Keeps answers, those used last, within `most_bytes`. Callable from any thread.

    `counted` is told of each question: hit, miss, or joined, which waited for another's answer.
    """

    def __init__(self, most_bytes: int, counted: Callable[[str], None] = lambda result: None) -> None:
        self._most_bytes = most_bytes
        self._counted = counted
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Answer] = OrderedDict()
        self._flights: dict[Key, Future[Answer]] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Return about how much memory the answers take."""
        return self._bytes

    def get(self, key: Key, *, stale: bool) -> Answer | None:
        """Return the answer. None if it is not kept, or says otherwise whether it is stale."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found.stale is stale:
                self._kept.move_to_end(key)
            else:
                found = None
        if found is not None:
            self._counted("hit")
        return found

    def takes(self, answer: Answer) -> bool:
        """Whether there is room for the answer, if others go."""
        return _size(answer) <= min(LARGEST_BYTES, self._most_bytes)

    def put(self, key: Key, answer: Answer) -> None:
        """Keep an answer.

        Those that were not used for longest make room for it.
        """
        size = _size(answer)
        if not self.takes(answer):
            return
        with self._lock:
            before = self._kept.pop(key, None)
            self._bytes += size - (_size(before) if before is not None else 0)
            self._kept[key] = answer
            while self._bytes > self._most_bytes or len(self._kept) > MOST_ENTRIES:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= _size(oldest)

    def once(self, key: Key, make: Callable[[], Answer]) -> Answer:
        """Return what `make` returns, to all who ask while it is made.

        Raises what it raises; only that the other is refused makes it be called again.
        """
        with self._lock:
            flight = self._flights.get(key)
            mine: Future[Answer] | None = None
            if flight is None:
                mine = self._flights[key] = Future()
        if flight is not None:
            self._counted("joined")
            try:
                return flight.result()
            except AccessDenied:
                return make()
        assert mine is not None  # noqa: S101 - there is a flight, or it is this one
        self._counted("miss")
        try:
            answer = make()
        except BaseException as error:
            self._landed(key)
            mine.set_exception(error)
            raise
        self._landed(key)
        mine.set_result(answer)
        return answer

    def _landed(self, key: Key) -> None:
        with self._lock:
            del self._flights[key]


def reply_of(answer: Answer, request: Request, headers: Mapping[str, str]) -> Reply:
    """Return the reply to a request. It is compressed where the client takes that."""
    if answer.packed is None or not request.unpacks:
        return Reply(200, answer.body, answer.content_type, dict(headers), rows=answer.rows)
    return Reply(200, answer.packed, answer.content_type, {**headers, **PACKED}, rows=answer.rows)


def _size(answer: Answer) -> int:
    return len(answer.body) + len(answer.packed or b"") + _ENTRY_BYTES
