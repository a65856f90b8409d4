"""Keeps HTTP connections to a warehouse, and limits each request."""

import io
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import IO, Any, cast
from urllib.parse import urlsplit

from analytics_refreshd.core.warehouse import FaultKind, WarehouseFault
from analytics_refreshd.warehouse.settings import WarehouseSettings

_IDLE_SECONDS = 2.0
"""Less than any ClickHouse keeps an idle connection, so that a request does not cross its end."""
_MOST_IDLE = 4
_BLOCK_BYTES = 256 << 10


class Connections:
    """Opens connections, and uses one that is idle again. Callable from any thread."""

    def __init__(self, settings: WarehouseSettings) -> None:
        self._settings = settings
        self._url = urlsplit(settings.url)
        self._lock = threading.Lock()
        self._stopped = False
        self._under_way: set[HTTPConnection] = set()
        self._idle: list[tuple[float, HTTPConnection]] = []
        weakref.finalize(self, _close, self._idle)

    @contextmanager
    def opened(self) -> Iterator[HTTPConnection]:
        """Open a connection. It is kept where its answer was read to the end, and closed otherwise."""
        connection = self._take() or self._new()
        kept = False
        try:
            with self._lock:
                if self._stopped:
                    raise WarehouseFault("the daemon is stopping", FaultKind.AWAY)
                self._under_way.add(connection)
            if connection.sock is None:
                connection.connect()
            yield connection
            kept = True
        finally:
            with self._lock:
                self._under_way.discard(connection)
                # closed by its own end, where the server said that it is the last answer
                kept = kept and not self._stopped and connection.sock is not None and len(self._idle) < _MOST_IDLE
                if kept:
                    self._idle.append((time.monotonic(), connection))
            if not kept:
                connection.close()

    def stop(self) -> None:
        """Give up the requests under way; from any thread."""
        with self._lock:
            self._stopped = True
            under_way = [connection.sock for connection in self._under_way]
            _close(self._idle)
        for each in under_way:
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _take(self) -> HTTPConnection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, connection = self._idle.pop()
            if time.monotonic() - since < _IDLE_SECONDS and _is_silent(connection.sock):
                return connection
            connection.close()

    def _new(self) -> HTTPConnection:
        host, seconds = self._url.hostname or "", self._settings.connect_seconds
        if self._url.scheme == "http":
            return HTTPConnection(host, self._url.port or 8123, timeout=seconds, blocksize=_BLOCK_BYTES)
        try:
            context = ssl.create_default_context(cafile=self._settings.ca_file)
        except OSError:
            raise WarehouseFault("the authority of the warehouse cannot be read: look at [warehouse] ca_file") from None
        port = self._url.port or 8443
        return HTTPSConnection(host, port, timeout=seconds, context=context, blocksize=_BLOCK_BYTES)


def exchange(
    connection: HTTPConnection, path: str, body: bytes | IO[bytes], headers: Mapping[str, str], until: float
) -> HTTPResponse:
    """Send a request, and return its answer. All of it is over by `until`, or raises TimeoutError.

    A timeout of the socket alone begins again with each piece, and a server that sends a byte now and then would never
    reach it.
    """
    sock = connection.sock
    assert sock is not None  # noqa: S101 - it was opened

    def limit() -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)

    def response(opened: socket.socket, *arguments: Any, **named: Any) -> HTTPResponse:
        return HTTPResponse(cast("socket.socket", _Limited(opened, limit)), *arguments, **named)

    # it is called, and no more
    connection.response_class = cast("type[HTTPResponse]", response)
    limit()
    sent = body if isinstance(body, bytes) else cast("IO[bytes]", _Sent(body, limit))
    connection.request("POST", path, body=sent, headers=dict(headers))
    return connection.getresponse()


def _close(idle: list[tuple[float, HTTPConnection]]) -> None:
    for _, connection in idle:
        connection.close()
    idle.clear()


def _is_silent(sock: socket.socket | None) -> bool:
    """Whether nothing came on an idle connection. What comes there is its end, or nothing that was asked for."""
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return not poll.poll(0)


class _Limited:
    """A socket whose file is read within a limit."""

    def __init__(self, sock: socket.socket, limit: Callable[[], None]) -> None:
        self._sock = sock
        self._limit = limit

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode  # it is read
        return io.BufferedReader(_Raw(self._sock.makefile("rb", buffering=0), self._limit))


class _Raw(io.RawIOBase):
    def __init__(self, raw: Any, limit: Callable[[], None]) -> None:
        self._raw = raw
        self._limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._limit()
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        # what keeps the socket open while its answer is read
        self._raw.close()
        super().close()


class _Sent:
    """A body that is read within a limit."""

    def __init__(self, body: IO[bytes], limit: Callable[[], None]) -> None:
        self._body = body
        self._limit = limit

    def read(self, size: int) -> bytes:
        self._limit()
        return self._body.read(size)
