"""A ClickHouse for tests: the demo's, behind a relay that lets things go wrong between it and its clients."""

import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest

from analytics_refreshd.demo.clickhouse import USER, installed

__all__ = ["LANDING", "PASSWORD", "USER", "ClickHouse", "needs_chdb", "serving"]

PASSWORD = "warehouse"
LANDING = ".deltas ("
"""What is in the statement that inserts a batch, and in no other."""
needs_chdb = pytest.mark.skipif(
    not installed(), reason="chdb is not installed: pip install 'analytics-refreshd[demo-warehouse]'"
)
Fault = Literal["lose answer", "half", "hold before", "hold within", "hold after"]


@dataclass
class Held:
    """A statement that the relay holds. `reached` is set when it came; `release` lets it go on."""

    fault: Fault
    pattern: str
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float = 90.0) -> None:
        """Wait until the statement came."""
        assert self.reached.wait(seconds), f"no statement with {self.pattern!r} came within {seconds} s"

    def release(self) -> None:
        """Let it go on."""
        self.released.set()


class ClickHouse:
    """A running server, and the relay in front of it."""

    def __init__(self, start: "Callable[[], subprocess.Popen[str]]", port: int) -> None:
        self._start = start
        self.start()
        self.refusal: tuple[int, str] | None = None
        """The number and text of an exception that answers every insert."""
        self.statements: list[str] = []
        self._faults: list[Held] = []
        self._port = port
        self._relay: _Relay | None = None
        self.listen()

    @property
    def url(self) -> str:
        """Return the address of its HTTP interface."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server, also after `kill`."""
        self.process = self._start()
        assert self.process.stdout is not None
        self.behind = int(self.process.stdout.readline())

    def kill(self) -> None:
        """End the server at once, as a machine that lost power; who asks is refused."""
        with self.process:
            self.process.kill()

    def listen(self) -> None:
        """Be there, after `leave`."""
        self._relay = _Relay(self._port, self)
        self._port = self._relay.server_port
        threading.Thread(target=self._relay.serve_forever, args=(0.05,), daemon=True).start()

    def leave(self) -> None:
        """Refuse connections, as a host whose server is stopped."""
        if self._relay is not None:
            self._relay.shutdown()
            self._relay.server_close()
            self._relay.cut()
            self._relay = None

    def fault(self, fault: Fault, pattern: str = LANDING) -> Held:
        """Let that happen to the next statement with `pattern` in it.

        `lose answer` does it and answers nothing, `half` passes half of its rows and breaks off, `hold before`,
        `hold within` and `hold after` let its client wait: before it is done, while it is, or for the answer.
        """
        held = Held(fault, pattern)
        self._faults.append(held)
        return held

    def take(self, statement: str) -> Held | None:
        """Return the fault for a statement, which then is over."""
        for held in self._faults:
            if held.pattern in statement:
                self._faults.remove(held)
                return held
        return None


@contextmanager
def serving(
    directory: Path, port: int = 0, environment: Mapping[str, str] | None = None, walled: str = ""
) -> Iterator[ClickHouse]:
    """Serve what is in `directory`; `port` is the relay's, `environment` what the server gets beside this one's.

    The tables of the database `walled` stand behind the row policies.
    """
    directory.mkdir(parents=True, exist_ok=True)
    password = directory / "password"
    password.write_text(PASSWORD)
    program = ["tests.support.walled_clickhouse", walled] if walled else ["analytics_refreshd.demo.clickhouse"]
    command = [sys.executable, "-m", *program, str(directory / "data"), str(password)]
    given = os.environ | dict(environment or {})
    server = ClickHouse(lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=given), port)
    try:
        yield server
    finally:
        server.leave()
        server.kill()


class _Relay(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, server: ClickHouse) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.clickhouse = server
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note a connection, which its client may keep for the next statement."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget one that is over."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """End those that are kept."""
        for each in list(self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Relay

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = parse_qs(urlsplit(self.path).query).get("query")
        statement = query[0] if query else body.decode(errors="replace")
        clickhouse = self.server.clickhouse
        clickhouse.statements.append(statement)
        held = clickhouse.take(statement)
        if clickhouse.refusal is not None and query is not None:
            number, text = clickhouse.refusal
            self._answer(
                500, f"Code: {number}. DB::Exception: {text}".encode(), {"X-ClickHouse-Exception-Code": str(number)}
            )
            return
        if held is not None and held.fault == "half":
            self._pass_half(body)
            held.reached.set()
        if held is not None and held.fault == "hold before":
            held.reached.set()
            held.released.wait(600)
        if held is not None and held.fault in ("half", "hold before") and not held.released.is_set():
            self._break_off()
            return
        try:
            status, headers, data = self._pass(body, held if held is not None and held.fault == "hold within" else None)
        except (OSError, http.client.HTTPException):
            # the server was killed
            self._break_off()
            return
        if held is not None and held.fault in ("lose answer", "hold after"):
            held.reached.set()
            if held.fault == "lose answer" or not held.released.wait(600):
                self._break_off()
                return
        with suppress(OSError):
            self._answer(status, data, headers)

    def _pass(self, body: bytes, within: Held | None = None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.clickhouse.behind, timeout=300)
        try:
            connection.request("POST", self.path, body=body, headers=self._sent())
            if within is not None:
                within.reached.set()
                within.released.wait(600)
            answer = connection.getresponse()
            given = {name: value for name, value in answer.getheaders() if name.startswith("X-")}
            return answer.status, given, answer.read()
        finally:
            connection.close()

    def _pass_half(self, body: bytes) -> None:
        """Announce all, send half of it, and close."""
        with socket.create_connection(("127.0.0.1", self.server.clickhouse.behind)) as behind:
            head = [f"POST {self.path} HTTP/1.1", "Host: clickhouse", f"Content-Length: {len(body)}"]
            head += [f"{name}: {value}" for name, value in self._sent().items()]
            behind.sendall("\r\n".join([*head, "", ""]).encode() + body[: len(body) // 2])
            behind.shutdown(socket.SHUT_WR)
            assert behind.recv(100) == b"", "half a batch was answered"

    def _sent(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.startswith("X-")}

    def _break_off(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
