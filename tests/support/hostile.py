"""Hostile HTTP clients, in a process of their own: they hold connections to a port of this machine, for a while.

    python -m tests.support.hostile PORT SECONDS COUNT [KIND ...]

Each takes a new connection soon after it has lost one. They end by themselves after SECONDS.
"""

import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

KINDS = ("unread-pipeline", "dripped-headers", "dripped-body", "half-closed", "idle-keep-alive")
_STEP_SECONDS = 0.1
_METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
_PIPELINE = _METRICS * (8192 // len(_METRICS))


def _unread_pipeline(client: socket.socket) -> Iterator[None]:
    """Ask for the metrics, in 8 kB of requests at a time, and read nothing."""
    while True:
        client.sendall(_PIPELINE)
        yield


def _dripped_headers(client: socket.socket) -> Iterator[None]:
    """Send a request whose header never ends."""
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    while True:
        yield
        client.sendall(b"y")


def _dripped_body(client: socket.socket) -> Iterator[None]:
    """Announce a body and send it a byte at a time."""
    client.sendall(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000\r\n\r\n")
    while True:
        yield
        client.sendall(b"y")


def _half_closed(client: socket.socket) -> Iterator[None]:
    """Say after one request that no other will follow, and do not read the answer."""
    client.sendall(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    while client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
        yield


def _idle_keep_alive(client: socket.socket) -> Iterator[None]:
    """Read one answer as it should be, and keep the connection for nothing."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
    while True:
        try:
            if not client.recv(65536):
                return
        except BlockingIOError:
            yield


_BEHAVIOURS: dict[str, Callable[[socket.socket], Iterator[None]]] = dict(
    zip(KINDS, (_unread_pipeline, _dripped_headers, _dripped_body, _half_closed, _idle_keep_alive), strict=True)
)


class _Client:
    """One client, which goes on for ever."""

    def __init__(self, port: int, kind: str) -> None:
        self._port = port
        self._kind = kind
        self._socket: socket.socket | None = None

    def step(self) -> None:
        """Do the next thing; without a connection, that is to connect."""
        try:
            if self._socket is None:
                self._socket = socket.socket()
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                self._socket.setblocking(False)
                self._socket.connect_ex(("127.0.0.1", self._port))
                self._going = _BEHAVIOURS[self._kind](self._socket)
            else:
                next(self._going)
        except BlockingIOError:
            # a generator ends with its exception: it goes on from its start, with what the server takes by then
            self._going = _BEHAVIOURS[self._kind](self._socket) if self._socket else iter(())
        except (OSError, StopIteration):
            if self._socket is not None:
                self._socket.close()
            self._socket = None


def attack(port: int, seconds: float, kinds: Sequence[str], count: int) -> None:
    """Run `count` clients of the kinds in turn for `seconds`."""
    clients = [_Client(port, kind) for kind, _ in zip(itertools.cycle(kinds), range(count), strict=False)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client in clients:
            client.step()
        time.sleep(_STEP_SECONDS)


@contextmanager
def attacked(port: int, seconds: float, count: int, *kinds: str) -> Iterator[None]:
    """Have `port` attacked from another process while the block runs, for `seconds` at most."""
    words = ["-m", "tests.support.hostile", str(port), str(seconds), str(count), *kinds]
    process = subprocess.Popen([sys.executable, *words], cwd=Path(__file__).parents[2])
    try:
        yield
        assert process.poll() in (None, 0), "the attack failed"
    finally:
        process.kill()
        process.wait(30)


if __name__ == "__main__":
    attack(int(sys.argv[1]), float(sys.argv[2]), sys.argv[4:] or KINDS, int(sys.argv[3]))
