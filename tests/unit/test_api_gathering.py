"""How an answer's pieces are sent: together, in their order, and nothing is held for long."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from analytics_refreshd.api.gathering import GatheringTransport

HEAD, BODY = b"head", b"body"
LARGE = b"x" * 20_000


@dataclass
class FakeTransport:
    """Notes what it is told."""

    calls: list[bytes | str] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.calls

    def get_write_buffer_size(self) -> int:
        return 100


def told(use: Callable[[GatheringTransport], Awaitable[None]]) -> list[bytes | str]:
    """What the transport below is told while this one is used."""
    below: Any = FakeTransport()

    async def run() -> None:
        await use(GatheringTransport(below, asyncio.get_running_loop()))

    asyncio.run(run())
    calls: list[bytes | str] = below.calls
    return calls


@pytest.mark.parametrize(
    ("writes", "sent"),
    [
        ([HEAD, BODY, b""], [HEAD + BODY]),
        ([HEAD, b""], [HEAD]),
        ([HEAD, LARGE], [HEAD + LARGE]),
        ([LARGE, BODY, b""], [LARGE, BODY]),
        ([HEAD, BODY, HEAD, BODY], [HEAD + BODY] * 2),
        ([b""], []),
    ],
)
def test_head_and_body_are_sent_together(writes: list[bytes], sent: list[bytes]) -> None:
    """Before the loop goes on: what is written next, or nothing, is the end of what is held."""

    async def use(gathering: GatheringTransport) -> None:
        for data in writes:
            gathering.write(data)
        below: Any = gathering._transport
        assert below.calls == sent

    assert told(use) == sent


def test_a_head_alone_goes_with_the_next_turn() -> None:
    """As that of a stream, whose events come later."""

    async def use(gathering: GatheringTransport) -> None:
        gathering.write(HEAD)
        assert gathering.get_write_buffer_size() == len(HEAD) + 100
        await asyncio.sleep(0)
        assert gathering.get_write_buffer_size() == 100
        gathering.write(BODY)
        await asyncio.sleep(0)

    assert told(use) == [HEAD, BODY]


def test_nothing_that_was_written_is_lost_at_the_end() -> None:
    """Unless the connection is given up."""

    async def close(gathering: GatheringTransport) -> None:
        gathering.write(HEAD)
        gathering.close()
        assert gathering.is_closing()

    async def abort(gathering: GatheringTransport) -> None:
        gathering.write(HEAD)
        gathering.abort()
        await asyncio.sleep(0)

    assert told(close) == [HEAD, "close"]
    assert told(abort) == ["abort"]


def test_over_a_socket_all_comes_in_its_order() -> None:
    """Pieces of all sizes, with turns of the loop between some of them."""
    near, far = socket.socketpair()
    sizes = [1, 0, 20_000, 3, 70_000, 5, 0, 16_384, 2]
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]

    async def run() -> bytes:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        reader, writer = await asyncio.open_connection(sock=far)
        gathering = GatheringTransport(transport, loop)
        for number, piece in enumerate(pieces):
            gathering.write(piece)
            if number % 3 == 1:
                await asyncio.sleep(0)
        gathering.close()
        found = await reader.read()
        writer.close()
        return found

    assert asyncio.run(run()) == b"".join(pieces)
