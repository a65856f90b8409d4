"""Hostile HTTP clients, in a process of their own: they hold connections to a port of this machine, for a while.

    python -m tests.support.hostile PORT SECONDS COUNT [/PATH] [KIND ...]

PATH is what most of them ask for. Each takes a new connection soon after it has lost one. They end by themselves after
SECONDS.
"""

import itertools
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

KINDS = ("unread-pipeline", "dripped-headers", "dripped-body", "half-closed", "idle-keep-alive")
_STEP_SECONDS = 0.1
_PATH = "/metrics"
_KEYED = "/api/v1/analytics/health/summary"


def _unread_pipeline(client: socket.socket, path: str) -> Iterator[None]:
    """Ask in 8 kB of requests at a time, and read nothing."""
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    while True:
        client.sendall(asked * (8192 // len(asked)))
        yield


def _unknown_keys(client: socket.socket, path: str) -> Iterator[None]:
    """Ask with a key that nobody has, and with another each time."""
    while True:
        key = f"rfd_{secrets.token_urlsafe(32)}"
        client.sendall(f"GET {_KEYED} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode())
        with suppress(BlockingIOError):
            while client.recv(65536):
                pass
            return
        yield


def _dripped_headers(client: socket.socket, path: str) -> Iterator[None]:
    """Send a request whose header never ends."""
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".encode())
    while True:
        yield
        client.sendall(b"y")


def _dripped_body(client: socket.socket, path: str) -> Iterator[None]:
    """Announce a body and send it a byte at a time."""
    client.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000\r\n\r\n".encode())
    while True:
        yield
        client.sendall(b"y")


def _half_closed(client: socket.socket, path: str) -> Iterator[None]:
    """Say after one request that no other will follow, and do not read the answer."""
    client.sendall(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    while client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
        yield


def _idle_keep_alive(client: socket.socket, path: str) -> Iterator[None]:
    """Read one answer as it should be, and keep the connection for nothing."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
    while True:
        try:
            if not client.recv(65536):
                return
        except BlockingIOError:
            yield


_BEHAVIOURS: Mapping[str, Callable[[socket.socket, str], Iterator[None]]] = dict(
    zip(KINDS, (_unread_pipeline, _dripped_headers, _dripped_body, _half_closed, _idle_keep_alive), strict=True)
) | {"unknown-keys": _unknown_keys}


class _Client:
    """One client, which goes on for ever."""

    def __init__(self, port: int, kind: str, path: str) -> None:
        self._port = port
        self._path = path
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
                self._going = _BEHAVIOURS[self._kind](self._socket, self._path)
            else:
                next(self._going)
        except BlockingIOError:
            # a generator ends with its exception: it goes on from its start, with what the server takes by then
            self._going = _BEHAVIOURS[self._kind](self._socket, self._path) if self._socket else iter(())
        except (OSError, StopIteration):
            if self._socket is not None:
                self._socket.close()
            self._socket = None


def attack(port: int, seconds: float, words: Sequence[str], count: int) -> None:
    """Run `count` clients of the kinds in turn for `seconds`; one of the words may be a path."""
    path = next((word for word in words if word.startswith("/")), _PATH)
    kinds = [word for word in words if not word.startswith("/")] or KINDS
    clients = [_Client(port, kind, path) for kind, _ in zip(itertools.cycle(kinds), range(count), strict=False)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client in clients:
            client.step()
        time.sleep(_STEP_SECONDS)


@contextmanager
def attacked(port: int, seconds: float, count: int, *kinds: str) -> Iterator[None]:
    """Have `port` attacked from another process while the block runs, for `seconds` at most.

    One of `kinds` may be a path.
    """
    words = ["-m", "tests.support.hostile", str(port), str(seconds), str(count), *kinds]
    process = subprocess.Popen([sys.executable, *words], cwd=Path(__file__).parents[2])
    try:
        yield
        assert process.poll() in (None, 0), "the attack failed"
    finally:
        process.kill()
        process.wait(30)


if __name__ == "__main__":
    attack(int(sys.argv[1]), float(sys.argv[2]), sys.argv[4:], int(sys.argv[3]))
