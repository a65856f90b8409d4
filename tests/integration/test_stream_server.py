"""The stream over real sockets: clients that read, that do not, and that leave."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from analytics_refreshd.api.access.principal import Principal
from analytics_refreshd.api.stream.hub import Hub
from analytics_refreshd.api.stream.listener import Credentials, Listener
from analytics_refreshd.api.stream.response import StreamResponse
from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.core.stream import Ending, StreamLimits, Topic
from tests.support.api import ask
from tests.support.stream import StreamClient
from tests.support.waiting import eventually

CLOCK = SystemClock()


@dataclass
class Server:
    """A server of streams alone, without a database: the test publishes."""

    hub: Hub
    slow_seconds: float
    tell_seconds: float
    topic: Topic = Topic.REFRESH
    port: int = 0
    finished: list[Listener] = field(default_factory=list)

    async def stream(self, request: Request) -> Response:
        """Open a stream."""
        credentials = Credentials((), None, "127.0.0.1")
        listener = Listener(
            Principal("key", None, "admin", "pro"), (self.topic,), credentials, "r", CLOCK.monotonic(), 0.0
        )
        self.hub.join(listener)
        headers = {"Content-Type": "text/event-stream", "Content-Length": "0"}
        return StreamResponse(self.hub, listener, headers, self.finished.append, self.slow_seconds, self.tell_seconds)

    async def other(self, request: Request) -> Response:
        """Answer any other request."""
        return PlainTextResponse("answered")

    def endings(self) -> list[Ending | None]:
        """Why streams ended so far."""
        return [listener.ending for listener in self.finished]


@contextmanager
def serving(
    slow_seconds: float = 60.0,
    tell_seconds: float = 60.0,
    heartbeat_seconds: float = 60.0,
    topic: Topic = Topic.REFRESH,
) -> Iterator[Server]:
    """Run a server, its kernel buffers as small as they can be."""
    server = Server(Hub(StreamLimits(), CLOCK, heartbeat_seconds=heartbeat_seconds), slow_seconds, tell_seconds, topic)
    app = Starlette(routes=[Route("/api/v1/stream", server.stream), Route("/other", server.other)])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        server.port = listener.getsockname()[1]
        settings = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=5)
        running = uvicorn.Server(settings)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield server
        finally:
            server.hub.close()
            running.should_exit = True
            thread.join(60)


@contextmanager
def silent(port: int) -> Iterator[socket.socket]:
    """A client that asks, and reads when the test does."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(60)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield client


def publish(server: Server, number: int, kilobytes: int = 32) -> None:
    """Publish an event that is new."""
    document = {"data": {"number": number, "fill": "x" * 1024 * kilobytes}, "meta": {}}
    server.hub.publish(server.topic, None, document)


def test_P15_a_client_that_does_not_read_is_told_and_nobody_waits_for_it() -> None:
    """Others hear every event and get their answers meanwhile; it hears the end when it reads again."""
    with (
        # of summaries one waits at most, so only the time tells that it is slow
        serving(slow_seconds=0.3, topic=Topic.SUMMARY) as server,
        silent(server.port) as slow,
        StreamClient(server.port, "") as quick,
    ):
        eventually(lambda: server.hub.open_streams == 2)
        number = 0
        deadline = time.monotonic() + 60
        while Ending.SLOW not in [each.ending for each in server.hub.by_credentials().popitem()[1]]:
            publish(server, number)
            assert quick.next("summary").data["data"]["number"] == number
            assert ask(server.port, "/other", {}, "GET").body == b"answered"
            number += 1
            assert time.monotonic() < deadline
        received = b""
        while piece := slow.recv(65536):
            received += piece
            if received.endswith(b"0\r\n\r\n"):
                break
        *_, last = received.split(b"event: ")
        assert last.startswith(b'end\ndata: {"reason":"slow"')
        eventually(lambda: server.endings() == [Ending.SLOW])
        publish(server, number)
        assert quick.next("summary").data["data"]["number"] == number


def test_P15_a_client_that_never_reads_is_given_up() -> None:
    """Its place becomes free."""
    with serving(slow_seconds=0.2, tell_seconds=0.2, heartbeat_seconds=0.1) as server, silent(server.port):
        eventually(lambda: server.hub.open_streams == 1)
        for number in range(20):
            publish(server, number)
        eventually(lambda: server.endings() == [Ending.SLOW])
        assert server.hub.open_streams == 0


def test_P15_silence_has_heartbeats_and_who_leaves_is_noticed() -> None:
    """A comment now and then, and a place that becomes free."""
    with serving(heartbeat_seconds=0.1) as server:
        with StreamClient(server.port, "") as client:
            assert client.next("open").data["topics"] == ["refresh"]
            for _ in range(3):
                assert client.next("").data == "heartbeat"
            publish(server, 1, 0)
            assert client.next("refresh").event_id
        eventually(lambda: server.endings() == [Ending.GONE])
        assert server.hub.open_streams == 0


@pytest.mark.parametrize("clients", [1, 5])
def test_the_end_is_the_last_that_comes(clients: int) -> None:
    """After all that was published before it; the answer is whole HTTP."""
    with serving() as server:
        listening = [StreamClient(server.port, "") for _ in range(clients)]
        for client in listening:
            client.next("open")
        for number in range(10):
            publish(server, number, 0)
        server.hub.close()
        for client in listening:
            *events, last = client.rest()
            assert [event.data["data"]["number"] for event in events] == list(range(10))
            assert (last.name, last.data["reason"]) == ("end", "stopping")
            client.leave()


def test_a_loop_that_ended_is_woken_no_more() -> None:
    """A turn of the poller may end after the server's loop."""

    async def join() -> None:
        hub.join(Listener(Principal("k", None, "admin", "pro"), (Topic.REFRESH,), Credentials((), None, ""), "r", 0, 0))

    hub = Hub(StreamLimits(), CLOCK)
    asyncio.run(join())
    hub.publish(Topic.REFRESH, None, {"data": 1, "meta": {}})
    assert hub.open_streams == 1
