"""A relay that ends a stream of events after the first: for clients that read an answer whole."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_LAST_CHUNK = b"0\r\n\r\n"


class _Relay(socketserver.BaseRequestHandler):
    """Passes bytes on in both directions, until either side ends or an event has come."""

    server: "_Server"
    answer = b""
    """What came since something was asked."""

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.target), timeout=60) as there:
            threading.Thread(target=self._ask, args=(there,), daemon=True).start()
            while data := there.recv(65536):
                self.answer += data
                self.request.sendall(data)
                head, _, body = self.answer.partition(b"\r\n\r\n")
                if b"text/event-stream" in head.lower() and b"\n\n" in body and body.endswith(b"\r\n"):
                    self.request.sendall(_LAST_CHUNK)
                    break
            with suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)

    def _ask(self, there: socket.socket) -> None:
        with suppress(OSError):
            while data := self.request.recv(65536):
                # a client may keep its connection, and ask for a stream after something else
                self.answer = b""
                there.sendall(data)
            there.shutdown(socket.SHUT_WR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    target = 0


@contextmanager
def first_event(port: int) -> Iterator[int]:
    """Yield the port of a relay to `port`."""
    with _Server(("127.0.0.1", 0), _Relay) as server:
        server.target = port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()
