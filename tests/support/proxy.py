"""A TCP relay in front of a server that a test can freeze, cut, or make deaf at a chosen moment."""

import ctypes
import selectors
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import pytest

_SO_ATTACH_FILTER = 26
# a classic BPF program of one instruction, "return 0 bytes", and the struct that points to it
_INSTRUCTION = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
_DROP_ALL = struct.pack("HL", 1, ctypes.addressof(_INSTRUCTION))


class Proxy:
    """Relays loopback connections to `target`. Use as a context manager; `port` is where it listens.

    `target` may be set to another address: connections that come later lead there.
    `drop_answers` loses what the server says from now on, `freeze` holds both directions, `reset` ends every
    connection with RST. `on_request(bytes)` sees what clients send before it is passed on.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.on_request: Callable[[bytes], None] = lambda data: None
        self.connections = 0
        self._answers_pass = threading.Event()
        self._answers_pass.set()
        self._moving = threading.Event()
        self._moving.set()
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.thaw()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def drop_answers(self) -> None:
        """Lose everything that the server sends from now on."""
        self._answers_pass.clear()

    def pass_answers(self) -> None:
        """Let the server be heard again; what was lost stays lost."""
        self._answers_pass.set()

    def freeze(self) -> None:
        """Pass nothing on, in either direction; both peers still get their acknowledgements."""
        self._moving.clear()

    def thaw(self) -> None:
        """Pass on what was held, and all that follows."""
        self._moving.set()

    def black_hole(self) -> None:
        """Drop every packet that arrives on the open connections, unacknowledged: what a dead network does."""
        for each in self._sockets:
            with suppress(OSError):
                drop_all(each)

    def cut(self, *, reset: bool = False) -> None:
        """End every connection: with FIN, or with RST."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        if reset:
            # all of them first: a socket that is closed in the usual way would still say FIN
            for each in sockets:
                with suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for each in sockets:
            with suppress(OSError):
                # wakes the thread that reads from it
                each.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            each.close()

    def reset(self) -> None:
        """End every connection with RST."""
        self.cut(reset=True)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            with self._lock:
                ended = self._closed.is_set()
                if not ended:
                    self.connections += 1
                    self._sockets += [client, server]
            if ended:
                # it came while the last ones were cut: nobody else closes it
                client.close()
                server.close()
                return
            for source, target, requests in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._relay, args=(source, target, requests), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, requests: bool) -> None:
        with suppress(OSError, ValueError):
            while data := source.recv(65536):
                if requests:
                    self.on_request(data)
                self._moving.wait()
                if requests or self._answers_pass.is_set():
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def drop_all(each: socket.socket) -> None:
    """Let the kernel drop, and not acknowledge, what comes to a socket; skips the test where a user may not."""
    try:
        each.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_ALL)
    except PermissionError:
        pytest.skip("no filter may be attached to a socket by this user here")


class TlsProxy:
    """A server's TLS for one that has none: answers `S` to an SSLRequest, wraps the socket, relays in the clear."""

    def __init__(self, target: tuple[str, int], certificate: str, key: str) -> None:
        self._target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            client.recv(8)
            client.sendall(b"S")
            with self._context.wrap_socket(client, server_side=True) as wrapped:
                with socket.create_connection(self._target) as server:
                    self._relay(wrapped, server)

    def _relay(self, wrapped: ssl.SSLSocket, server: socket.socket) -> None:
        wrapped.setblocking(False)
        server.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(wrapped, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, wrapped)
            while True:
                for key, _ in selector.select():
                    source, target = key.fileobj, key.data
                    try:
                        data = source.recv(65536)  # type: ignore[union-attr]
                    except (ssl.SSLWantReadError, BlockingIOError):
                        continue
                    if not data:
                        return
                    target.setblocking(True)
                    target.sendall(data)
                    target.setblocking(False)
