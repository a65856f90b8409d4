"""Requests that are answered as an equal one of the same second."""

import gc
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from weakref import ref

import pytest

from analytics_refreshd.api import repeats as module
from analytics_refreshd.api.access.principal import Principal
from analytics_refreshd.api.cache import Answer, AnswerCache, Key
from analytics_refreshd.api.exchange import Reply, Request
from analytics_refreshd.api.freshness import Known
from analytics_refreshd.api.keeping import Looked
from analytics_refreshd.api.repeats import Repeat, Repeats, asks_of
from analytics_refreshd.api.routes import routes_of
from analytics_refreshd.postgres.catalogue.files import Catalogue

NOW = datetime(2026, 3, 1, 10, 20, 30, 250_000, tzinfo=UTC)
HOURLY, DAILY = (
    next(route for route in routes_of(Catalogue.load()) if route.name == name)
    for name in ("actions/hourly", "actions/daily")
)
ACME = Principal("key_1", ("acme",), "viewer", "pro")
KEY = Key.of(ACME, 'W/"1"')
KNOWN = Known({"v": NOW}, None)
HEADERS = {"ETag": 'W/"1"', "Cache-Control": "private, max-age=60"}


def request(path: str = "/hourly", *items: tuple[str, str], **headers: str) -> Request:
    """A request with these headers."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(path, {}, items, MappingProxyType(given), "192.0.2.1", "r1")


@dataclass
class Memory:
    """What is remembered of one answer."""

    repeats: Repeats = field(default_factory=Repeats)
    cache: AnswerCache = field(default_factory=lambda: AnswerCache(1 << 20))
    known: Known | None = KNOWN

    def known_now(self) -> Known | None:
        """What the reader knows."""
        return self.known

    def keep(self, asked: Request, *, packed: bytes | None = None, unchanged: bool = False) -> None:
        """Let a request be answered from memory."""
        answer = Answer(b"figures", 3, KNOWN, KEY.tag, packed=packed)
        self.cache.put(KEY, answer)
        reply = Reply(304 if unchanged else 200, b"", headers=dict(HEADERS))
        looked = Looked(KNOWN, KEY.tag, reply, None if unchanged else (KEY, answer))
        reader: Any = self
        self.repeats.note(asks_of(HOURLY, asked, ACME), NOW, Repeat.of(reader, looked, reply))

    def ask(self, asked: Request, now: datetime = NOW, who: Principal = ACME) -> Reply | None:
        """The reply to an equal request."""
        return self.repeats.reply(asks_of(HOURLY, asked, who), asked, now, self.cache)


def test_an_equal_request_of_the_second_has_the_same_reply() -> None:
    """Body, type and headers; also compressed, and a 304. In the next second it is understood again."""
    memory = Memory()
    memory.keep(request())
    for now in (NOW, NOW + timedelta(milliseconds=749)):
        assert memory.ask(request(), now) == Reply(200, b"figures", headers=HEADERS, rows=3)
    for now in (NOW + timedelta(milliseconds=750), NOW - timedelta(milliseconds=251)):
        assert memory.ask(request(), now) is None
    short = request(accept_encoding="gzip")
    memory.keep(short, packed=b"short")
    packed = memory.ask(short)
    assert packed is not None
    assert (packed.body, packed.headers) == (b"short", {**HEADERS, "Content-Encoding": "gzip"})
    mine = request(if_none_match='W/"1"')
    memory.keep(mine, unchanged=True)
    assert memory.ask(mine) == Reply(304, b"", headers=HEADERS)


def test_a_reply_is_not_changed_by_what_is_added_to_it() -> None:
    """What is left of one key's limits goes to nobody else."""
    memory = Memory()
    for asked in (request(), request(if_none_match='W/"1"')):
        memory.keep(asked, unchanged="if-none-match" in asked.headers)
        reply = memory.ask(asked)
        assert reply is not None
        reply.headers["X-RateLimit-Remaining"] = "7"
        again = memory.ask(asked)
        assert again is not None
        assert again.headers == HEADERS


@pytest.mark.parametrize(
    "other",
    [
        replace(ACME, organizations=("bolt",)),
        replace(ACME, organizations=("acme", "bolt")),
        replace(ACME, organizations=None),
        replace(ACME, role="admin"),
    ],
)
def test_an_answer_is_nobody_elses(other: Principal) -> None:
    """Not for another set of organizations, nor another role; another key of the same has it."""
    memory = Memory()
    memory.keep(request())
    assert memory.ask(request(), who=other) is None
    assert memory.ask(request(), who=replace(ACME, key_id="key_2", plan="free")) is not None


@pytest.mark.parametrize(
    "other",
    [
        request("/other"),
        request("/hourly", ("hours", "24")),
        request(accept="text/csv"),
        request(accept_encoding="gzip"),
        request(if_none_match='W/"1"'),
    ],
)
def test_another_question_is_another(other: Request) -> None:
    """By path, parameters and each header that counts; also of another endpoint."""
    memory = Memory()
    memory.keep(request())
    assert memory.ask(other) is None
    assert asks_of(DAILY, request(), ACME) != asks_of(HOURLY, request(), ACME)


def test_a_refresh_ends_it_and_so_does_the_cache() -> None:
    """Where more is known, or nothing of this second; where the answer is gone, or another one."""
    memory = Memory()
    memory.keep(request())
    for known in (None, Known({"v": NOW + timedelta(seconds=1)}, None), Known({"v": NOW}, None, "warehouse", "b")):
        memory.known = known
        assert memory.ask(request()) is None
    memory.known = Known({"v": NOW}, None)
    assert memory.ask(request()) is not None
    first = memory.cache.get(KEY, stale=False)
    memory.cache.put(KEY, Answer(b"others", 3, KNOWN, KEY.tag))
    assert memory.ask(request()) is None
    assert first is not None
    memory.keep(request())
    memory.cache = AnswerCache(0)
    assert memory.ask(request()) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache alone keeps answers; of a second so many requests are remembered, and none that is long."""
    memory = Memory()
    memory.keep(request())
    answer = ref(memory.cache.get(KEY, stale=False))
    memory.cache = AnswerCache(0)
    gc.collect()
    assert answer() is None
    assert memory.ask(request()) is None
    memory.cache = AnswerCache(1 << 20)
    long = request("/hourly", ("trigger_id", "x" * 500))
    memory.keep(long)
    assert memory.ask(long) is None
    monkeypatch.setattr(module, "MOST", 2)
    other = request("/hourly", ("hours", "3"))
    memory.keep(other)
    assert memory.ask(other) is not None
    memory.keep(request("/hourly", ("hours", "4")))
    assert len(memory.repeats._kept[1]) == 2
