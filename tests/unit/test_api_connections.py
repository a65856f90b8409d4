"""The API's connections: who goes, and that a client that is slow, or too many of them, lose theirs."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from analytics_refreshd.api.connections import (
    HEADER_BYTES,
    ClientLimits,
    bound_kernel_memory,
    client_connections,
    client_limits,
    drop_slow,
    to_drop,
)
from analytics_refreshd.observe.http import HttpSettings, listen
from tests.support.waiting import eventually

ARRIVED = threading.Semaphore(0)
"""How many requests for what is late have come."""
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Waits:
    """A client that waits since then, None: whose answer is made."""

    waits_since: float | None
    unsent: int = 0


def test_who_goes() -> None:
    """The overdue, and those that wait longest beyond a limit; never one whose answer is made."""
    limits = ClientLimits(connections=4, unsent_bytes=100, seconds=10)
    late, newer, newest, busy = Waits(0), Waits(95), Waits(99), Waits(None)
    assert to_drop([newest, busy, newer, late], limits, 100) == [late]
    assert to_drop([newest, busy, newer, busy, newer, newest], limits, 100) == [newer, newer]
    assert to_drop([busy] * 6, limits, 100) == []
    unread, fresh = Waits(95, 80), Waits(98, 30)
    assert to_drop([fresh, newer, unread], limits, 100) == [unread]
    assert to_drop([Waits(95, 60), Waits(98, 40)], limits, 100) == []


def test_who_began_to_wait_since_then_is_not_overdue() -> None:
    """The server may not have read what such a client sent; beyond a limit it goes as any other."""
    limits = ClientLimits(connections=2, unsent_bytes=100, seconds=10)
    late, newer = Waits(0), Waits(50)
    assert to_drop([late, newer], limits, 100, 40) == [late]
    assert to_drop([late, newer], limits, 100, 50) == [late, newer]
    assert to_drop([late, newer], limits, 100, float("-inf")) == []
    assert to_drop([late, newer, newer], limits, 100, float("-inf")) == [late]


def test_room_is_made_for_many_at_once() -> None:
    """So that a flood of new connections is not sorted one by one."""
    clients = [Waits(float(number)) for number in range(161)]
    assert to_drop(clients, ClientLimits(connections=160, seconds=1000), 200) == clients[:11]


def test_limits_keep_within_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of them is for everything else."""
    for descriptors, connections in ((-1, 1200), (1 << 20, 1200), (400, 300), (1, 1)):
        monkeypatch.setattr("resource.getrlimit", lambda which, most=descriptors: (most, most))
        assert client_limits().connections == connections


async def _small(request: Request) -> Response:
    return JSONResponse({"length": len(await request.body())})


async def _large(request: Request) -> Response:
    return Response(b"x" * 400_000)


async def _late(request: Request) -> Response:
    """Hold up one of the loop's next turns, and answer what nobody reads."""
    ARRIVED.release()
    for _ in range(int(request.query_params["turns"])):
        await asyncio.sleep(0)
    time.sleep(0.5)  # as much work would
    return await _large(request)


@contextmanager
def served(limits: ClientLimits, *, sweeps: bool = True) -> Iterator[int]:
    """A server with these limits, which are looked at all the time if it sweeps."""
    app = Starlette(
        routes=[Route("/", _small, methods=["GET", "POST"]), Route("/large", _large), Route("/late", _late)]
    )
    listener = listen(HttpSettings("127.0.0.1", 0, keys="port"))
    bound_kernel_memory(listener)
    config = uvicorn.Config(
        app,
        h11_max_incomplete_event_size=HEADER_BYTES,
        http=client_connections(limits),
        lifespan="off",
        log_config=None,
        timeout_keep_alive=60,
        timeout_notify=0,
    )
    server = uvicorn.Server(config)

    async def sweep() -> None:
        drop_slow(server.server_state.connections, limits, asyncio.get_running_loop().time(), waited_by=float("inf"))

    config.callback_notify = sweep if sweeps else None
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(60)
        assert not thread.is_alive()


@contextmanager
def connected(port: int, sent: bytes) -> Iterator[socket.socket]:
    """A client that has sent something."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect(("127.0.0.1", port))
        client.sendall(sent)
        yield client


def lost(client: socket.socket) -> bool:
    """Whether the server has ended the connection; a byte goes with the question."""
    try:
        client.sendall(b"y")
    except OSError:
        return True
    with suppress(BlockingIOError):
        while client.recv(65536, socket.MSG_DONTWAIT):
            pass
        return True
    return False


def answered(client: socket.socket) -> bool:
    """Whether an answer of 200 comes, to its end."""
    answer = b""
    while not answer.endswith(b'{"length":0}'):
        piece = client.recv(65536)
        if not piece:
            return False
        answer += piece
    return answer.startswith(b"HTTP/1.1 200")


def reset(client: socket.socket) -> bool:
    """Whether the server has reset the connection of a client that reads nothing."""
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nX-Slow: ",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000\r\n\r\n",
        GET + b"G",
    ],
    ids=["nothing", "headers", "body", "second-request"],
)
def test_P05_who_asks_too_slowly_loses_the_connection(sent: bytes) -> None:
    """A byte now and then does not keep it."""
    with served(ClientLimits(seconds=0.5)) as port, connected(port, sent) as client:
        eventually(lambda: lost(client), within=60)


@pytest.mark.slow
def test_P05_who_does_not_read_loses_the_connection() -> None:
    """After its time; or at once, where what waits for all is too much: then the first of them goes."""
    with served(ClientLimits(seconds=0.5)) as port, connected(port, LARGE) as client:
        eventually(lambda: reset(client), within=60)
    with served(ClientLimits(unsent_bytes=500_000, seconds=600)) as port, connected(port, LARGE) as first:
        with connected(port, LARGE):
            eventually(lambda: reset(first), within=60)


@pytest.mark.slow
def test_P05_a_server_that_is_late_keeps_who_asked_in_time() -> None:
    """Its loop has read nothing of the request for longer than a client may take, and others do not read."""
    with ExitStack() as stack:
        port = stack.enter_context(served(ClientLimits(seconds=0.2), sweeps=False))
        for turns in range(12):
            stack.enter_context(connected(port, LARGE.replace(b"/large", f"/late?turns={turns}".encode())))
        for _ in range(12):
            assert ARRIVED.acquire(timeout=60)
        client = stack.enter_context(connected(port, GET))
        assert answered(client)


@pytest.mark.slow
def test_a_new_client_takes_the_place_of_the_one_that_waits_longest() -> None:
    """Beyond the limit; the others keep theirs."""
    with served(ClientLimits(connections=2, seconds=600)) as port, connected(port, GET) as first:
        assert answered(first)
        with connected(port, GET) as second, connected(port, GET) as third:
            assert answered(second)
            assert answered(third)
            eventually(lambda: lost(first), within=60)
            second.sendall(GET)
            assert answered(second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, GET + b"nonsense\r\n\r\n"]
)
def test_P05_what_is_no_http_is_a_problem_document(sent: bytes) -> None:
    """Also headers of 100 kB, and what follows a good request; then the connection ends."""
    with served(ClientLimits()) as port, connected(port, b"") as client:
        with suppress(OSError):
            client.sendall(sent)
        answer = b""
        with suppress(ConnectionResetError):
            while piece := client.recv(65536):
                answer += piece
        assert answer.rpartition(b"HTTP/1.1 400 Bad Request\r\n")[2].startswith(
            b"Content-Type: application/problem+json"
        )
        assert b'"error":"bad_request"' in answer


def test_the_unit_gives_the_descriptors() -> None:
    """As many as the limits need."""
    unit = Path(__file__).parents[2] / "systemd" / "analytics-refreshd-api@.service"
    (line,) = [line for line in unit.read_text().splitlines() if line.startswith("LimitNOFILE=")]
    assert int(line.partition("=")[2]) * 3 // 4 >= ClientLimits().connections
