"""What may answer where a ClickHouse is expected: servers that lie, never end, or answer something else."""

import gzip
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_PIECE = b"1\t" * 32_768
_DRIP_SECONDS = 0.05


def _answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def _endless(send: Callable[[bytes], None], status: bytes = b"200 OK") -> None:
    send(b"HTTP/1.1 %s\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
    while True:
        send(b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE))


def _endless_error(send: Callable[[bytes], None]) -> None:
    _endless(send, b"500 No")


def _without_length(send: Callable[[bytes], None]) -> None:
    send(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        send(_PIECE)


def _says_much(send: Callable[[bytes], None]) -> None:
    send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000000\r\n\r\n" + _PIECE)


def _headers(send: Callable[[bytes], None]) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    while True:
        send(b"X-Much: %s\r\n" % (b"x" * 1000))


def _long_header(send: Callable[[bytes], None]) -> None:
    send(b"HTTP/1.1 200 OK\r\nX-Much: ")
    while True:
        send(b"x" * 65_536)


def _drip(*parts: bytes) -> Callable[[Callable[[bytes], None]], None]:
    """Send a byte now and then, without an end."""

    def serve(send: Callable[[bytes], None]) -> None:
        send(parts[0])
        pause = threading.Event()
        while not pause.wait(_DRIP_SECONDS):
            send(parts[1])

    return serve


def _saying(data: bytes) -> Callable[[Callable[[bytes], None]], None]:
    return lambda send: send(data)


KINDS: dict[str, Callable[[Callable[[bytes], None]], None]] = {
    "an endless answer": _endless,
    "an answer without a length": _without_length,
    "more than there is": _says_much,
    "endless headers": _headers,
    "a header without an end": _long_header,
    "a slow status": _drip(b"HTTP/1.1", b" "),
    "a slow header": _drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "a slow body": _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"1"),
    "endless waiting": _drip(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "another protocol": _saying(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "nothing": _saying(b""),
    "a packed answer": _saying(_answer(gzip.compress(bytes(50_000_000)), "200 OK", "Content-Encoding: gzip")),
    "other types": _saying(_answer(b"abc\tdef\n\xff\xfe\x00\n[1, 2]\n" + b"9" * 5000 + b"\n")),
    "nested beyond measure": _saying(_answer(b'["a"]\n["UInt8"]\n' + b"[" * 100_000 + b"\n")),
    "a page": _saying(_answer(b"<html><body>It works!</body></html>\n")),
    "an error with control characters": _saying(
        _answer(b"\x1b[2J\x1b]0;owned\x07Code: 1\r\n\x00 warehouse \xe2\x80\xae!", "500 No")
    ),
    "an error of a long number": _saying(_answer(b"no", "500 No", "X-ClickHouse-Exception-Code: " + "9" * 5000)),
    "an error without an end": _endless_error,
}
"""How a server answers each request."""


@contextmanager
def hostile(kind: str) -> Iterator[str]:
    """Answer each request in one of the `KINDS`; yields the address."""
    with answering(KINDS[kind]) as url:
        yield url


@contextmanager
def answering(serve: Callable[[Callable[[bytes], None]], None]) -> Iterator[str]:
    """Answer each request by `serve`, then close; yields the address."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection: socket.socket = self.request
            connection.settimeout(10)
            # what was asked matters to nobody; where a body is still coming, its sender sees the end
            with suppress(OSError):
                while b"\r\n\r\n" not in connection.recv(65_536):
                    pass

            def send(data: bytes) -> None:
                if over.is_set():
                    raise OSError
                connection.sendall(data)

            with suppress(OSError):
                serve(send)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            over.set()
            server.shutdown()
