"""The sockets of the HTTP port: one thread, one request a connection, and a limit on all that clients can hold.

What protects the process lies below HTTP: how many bytes wait in all, how long the oldest of them has waited, and who
goes first. Neither waitress nor the standard library's servers let one decide that without using their private parts.
"""

import fcntl
import resource
import selectors
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from analytics_refreshd.observe.http_request import HEAD_BYTES, Request, read_request

Asked = Request | HTTPStatus
"""A request, or the status to refuse it with."""

_KERNEL_SEND_BYTES = 32 * 1024
_KERNEL_RECEIVE_BYTES = 16 * 1024
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What clients can hold: together, connections and distinct answer bytes; each, `seconds` to ask and to read."""

    connections: int = 400
    answer_bytes: int = 16 * 1024 * 1024
    seconds: float = 10.0


@dataclass(slots=True, eq=False)
class Connection:
    """One client. `answer` is None until it has asked, and empty once everything is sent.

    `since` is the monotonic time at which it was accepted, or its answer made. Connections share equal answers.
    """

    socket: socket.socket
    since: float
    received: bytes = b""
    answer: bytes | None = None
    sent: int = 0


def to_drop(connections: Iterable[Connection], limits: HttpLimits, now: float) -> list[Connection]:
    """Choose the connections to drop. Each that is overdue goes, and the oldest beyond a limit.

    Whoever asks and takes its answer is never among the oldest for long, whatever the others do. An answer that many
    connections share is counted once, and whole until its last byte is sent. The newest is kept, however large.
    """
    chosen = []
    counted: set[int] = set()
    answer_bytes = 0
    for place, connection in enumerate(sorted(connections, key=_since, reverse=True), start=1):
        if connection.answer and id(connection.answer) not in counted:
            counted.add(id(connection.answer))
            answer_bytes += len(connection.answer)
        too_large = bool(connection.answer) and len(counted) > 1 and answer_bytes > limits.answer_bytes
        if too_large or place > limits.connections or now - connection.since > limits.seconds:
            chosen.append(connection)
    return chosen


def _untaken(sender: socket.socket) -> bool:
    """Whether the kernel holds bytes that the client has not acknowledged; the end of our sending counts as one."""
    (count,) = struct.unpack("i", fcntl.ioctl(sender, termios.TIOCOUTQ, bytes(4)))
    return bool(count > 1)


def _since(connection: Connection) -> float:
    return connection.since


class HttpLoop:
    """Serves `listener` in the thread that calls `run`, until `stop`.

    `respond` gets all requests that are complete at one moment and returns their answers, whole HTTP messages, in the
    same order. One answer can so serve many, which bounds the work and the bytes of a moment.
    """

    def __init__(
        self, listener: socket.socket, respond: Callable[[Sequence[Asked]], Sequence[bytes]], limits: HttpLimits
    ) -> None:
        self._listener = listener
        self._respond = respond
        self._connections: set[Connection] = set()
        # the database's connections need descriptors, too
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        places = limits.connections if descriptors < 0 else min(limits.connections, descriptors // 2)
        self._limits = HttpLimits(places, limits.answer_bytes, limits.seconds)
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        # inherited by every connection: what the kernel holds for a client counts in a container's memory
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_SEND_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_RECEIVE_BYTES)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until `stop`, then free the port and reset every connection."""
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            for connection in list(self._connections):
                self._drop(connection)
            self._listener.close()
            self._selector.close()
            self._woken.close()

    def stop(self) -> None:
        """Make `run` return soon. Thread-safe, and harmless twice."""
        self._stopping.set()
        # closing the one end of a pair is what the other end sees, whether or not anybody still looks
        self._wake.close()

    def _turn(self) -> None:
        """Do all that can be done now, without waiting for any client."""
        ready = [key.data or key.fileobj for key, _ in self._selector.select(1.0 if self._connections else None)]
        asked: dict[Connection, Asked] = {}
        for connection in ready:
            if not isinstance(connection, Connection):
                continue
            if connection.answer:
                self._send(connection, connection.answer)
            elif request := self._receive(connection):
                asked[connection] = request
        if asked:
            for connection, answer in zip(asked, self._respond(list(asked.values())), strict=True):
                connection.since, connection.received = time.monotonic(), b""
                self._send(connection, answer)
        # last, since room for a new connection may cost one that was ready
        if self._listener in ready:
            self._accept()
        for connection in to_drop(self._connections, self._limits, time.monotonic()):
            self._drop(connection)

    def _accept(self) -> None:
        """Take new connections, a part of all places at most: those already here get their turn, too."""
        for _ in range(max(1, self._limits.connections // 4)):
            try:
                accepted, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                self._make_room()
                return
            accepted.setblocking(False)
            connection = Connection(accepted, time.monotonic())
            self._connections.add(connection)
            self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _make_room(self) -> None:
        """Drop the oldest quarter, where the system gives no descriptor or memory for another connection."""
        oldest_first = sorted(self._connections, key=_since)
        for connection in oldest_first[: len(oldest_first) // 4 + 1]:
            self._drop(connection)
        if not oldest_first:
            # the listener stays readable: wait instead of asking it again and again
            self._stopping.wait(0.05)

    def _receive(self, connection: Connection) -> Asked | None:
        """Read what has come. Returns the request once it is complete; after the answer everything is ignored."""
        try:
            data = connection.socket.recv(HEAD_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            self._close(connection)
            return None
        if not data and connection.answer is not None and _untaken(connection.socket):
            # closed now, it would be out of our sight, and its bytes in the kernel beyond our limits
            self._selector.unregister(connection.socket)
        elif not data:
            self._close(connection)
        elif connection.answer is None:
            connection.received += data
            return read_request(connection.received)
        return None

    def _send(self, connection: Connection, answer: bytes) -> None:
        """Send what the client takes now, and after the last byte wait for the client to close.

        To close first, with a part of its request unread, would reset the connection, and the answer might be lost.
        """
        try:
            connection.sent += connection.socket.send(memoryview(answer)[connection.sent :])
            connection.answer = answer if connection.sent < len(answer) else b""
            if not connection.answer:
                connection.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            connection.answer = answer
        except OSError:
            self._close(connection)
            return
        wanted = selectors.EVENT_WRITE if connection.answer else selectors.EVENT_READ
        self._selector.modify(connection.socket, wanted, connection)

    def _drop(self, connection: Connection) -> None:
        """Reset a connection: the kernel, too, forgets at once what the client has not taken."""
        with suppress(OSError):
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._connections.discard(connection)
        with suppress(KeyError):
            self._selector.unregister(connection.socket)
        connection.socket.close()
