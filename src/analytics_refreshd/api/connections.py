"""Bounds what the clients of the API's port can hold.

uvicorn bounds neither: it ends an idle connection, but not one that sends a byte from time to time, or reads none.
"""

import asyncio
import ctypes
import resource
import secrets
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from analytics_refreshd.api.exchange import as_json
from analytics_refreshd.api.gathering import GatheringTransport
from analytics_refreshd.api.problems import MEDIA_TYPE, Problem

HEADER_BYTES = 32 * 1024
"""The most that a request's line and headers may hold."""
_KERNEL_BYTES = 32 * 1024
_UNSENT_BYTES = 32 * 1024
_LARGE_BYTES = 64 * 1024
_M_MMAP_THRESHOLD = -3
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What clients can hold.

    Together that is connections, and bytes that wait for them; each has `seconds` to ask and to read.
    """

    connections: int = 1200
    unsent_bytes: int = 16 * 1024 * 1024
    seconds: float = 10.0


def client_limits() -> ClientLimits:
    """Return the limits that the descriptors of this process allow."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = ClientLimits().connections
    # the database's connections and large answers need some, too
    return ClientLimits(most if descriptors < 0 else max(1, min(most, descriptors * 3 // 4)))


class Client(Protocol):
    """A connection, as it is judged."""

    @property
    def waits_since(self) -> float | None:
        """Since when only the client can go on.

        None while its answer is made.
        """

    @property
    def unsent(self) -> int:
        """Bytes that wait for it."""


def to_drop(
    clients: Iterable[Client], limits: ClientLimits, now: float, waited_by: float = float("inf")
) -> list[Client]:
    """Choose the connections to drop. Each that is overdue goes, and those that wait longest beyond a limit.

    Only who waited at `waited_by` is overdue: of a loop that is late, what a client sent may not have been read yet.
    A client that asks and takes its answer never waits for long, whatever the others do. Beyond the number of
    connections a sixteenth of all places is made free, so that this is not done for each that comes.
    """
    every = list(clients)
    over = len(every) - limits.connections
    over += limits.connections // 16 if over > 0 else 0
    unsent = sum(client.unsent for client in every)
    waiting = [(client.waits_since, place, client) for place, client in enumerate(every)]
    chosen = []
    for since, _place, client in sorted(item for item in waiting if item[0] is not None):
        overdue = now - (since or 0.0) > limits.seconds and (since or 0.0) <= waited_by
        if overdue or over > 0 or (unsent > limits.unsent_bytes and client.unsent):
            chosen.append(client)
            over -= 1
            unsent -= client.unsent
    return chosen


def bound_kernel_memory(listener: socket.socket) -> None:
    """Set what the kernel may hold for each client.

    It counts in a container's memory.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)


def give_back_memory() -> None:
    """Let the C library give back large blocks at once.

    It begins to keep them once it has seen a large one. Between small blocks of clients that came and went those left
    gaps: five hundred that read nothing took four times what waited for them.
    """
    with suppress(OSError, AttributeError):
        # other C libraries than glibc have no such setting
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


class ClientConnection(H11Protocol):
    """One client's connection. All of a server share `limits`."""

    limits = ClientLimits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, at the cost of others beyond the limit."""
        self._since = self.loop.time()
        self._unread_since: float | None = None
        transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        # asyncio makes room for 256 KiB at each read, else
        transport.max_size = HEADER_BYTES  # type: ignore[attr-defined]
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", GatheringTransport(transport, self.loop))
        if len(self.connections) > self.limits.connections:
            self._relieve()

    def data_received(self, data: bytes) -> None:
        """Take what came. A request that begins has its own time."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._since = self.loop.time()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client does not take what is sent."""
        self._unread_since = self.loop.time()
        super().pause_writing()
        self._relieve()

    def resume_writing(self) -> None:
        """Note that it took some."""
        self._unread_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            # an answer is being made: another in the middle of it would be no HTTP, either
            self.drop()
            return
        text = f"this is no HTTP/1.1 request, or its headers are over {HEADER_BYTES >> 10} kB"
        body = as_json(Problem(400, "bad_request", text).document(secrets.token_hex(8)))
        lines = ["HTTP/1.1 400 Bad Request", f"Content-Type: {MEDIA_TYPE}", f"Content-Length: {len(body)}"]
        self.transport.write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        self.transport.close()

    @property
    def waits_since(self) -> float | None:
        """Since when only the client can go on.

        None while its answer is made.
        """
        if self._unread_since is not None:
            return self._unread_since
        asks = self.cycle is None or self.cycle.response_complete or self.cycle.more_body
        return self._since if asks else None

    @property
    def unsent(self) -> int:
        """Bytes that wait for it."""
        return self.transport.get_write_buffer_size()

    def drop(self) -> None:
        """Reset the connection.

        So the kernel, too, forgets at once what the client has not taken.
        """
        found = self.transport.get_extra_info("socket")
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.connections.discard(self)
        self.transport.abort()

    def _relieve(self) -> None:
        drop_slow(self.connections, self.limits, self.loop.time(), waited_by=float("-inf"))


def drop_slow(connections: Iterable[Any], limits: ClientLimits, now: float, *, waited_by: float) -> None:
    """Drop the connections that `to_drop` chooses. `now` is the loop's time."""
    for client in to_drop(connections, limits, now, waited_by):
        assert isinstance(client, ClientConnection)  # noqa: S101 - a server has no others
        client.drop()


def client_connections(limits: ClientLimits) -> type[ClientConnection]:
    """Return the class of a server's connections, which share `limits`."""

    class Limited(ClientConnection):
        pass

    Limited.limits = limits
    return Limited
