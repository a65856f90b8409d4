"""Receivers of alerts to test against: real HTTP servers in threads, scripted answer by answer."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jsonschema import Draft202012Validator


@dataclass(frozen=True)
class Got:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """A webhook message's alerts, each with what the message says of all."""
        message = self.json
        return [{**message, **alert} for alert in message["alerts"]]


@dataclass
class Answer:
    """What to answer with."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Receiver:
    """Answers with `script`'s items one after another, then with the last for ever; keeps what it got.

    With a JSON Schema it answers 400 to every body that does not fit, as the API behind the schema would, and keeps
    the reason in `violations`.
    """

    def __init__(self, *script: Answer | int, schema: Mapping[str, Any] | None = None) -> None:
        self.got: list[Got] = []
        self.violations: list[str] = []
        self._schema = Draft202012Validator(schema) if schema else None
        self._script = [item if isinstance(item, Answer) else Answer(item) for item in script] or [Answer()]
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                answer = receiver._note(Got(self.path, dict(self.headers.items()), body))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def answer(self, *script: Answer | int) -> None:
        """Answer like this from now on."""
        with self._lock:
            self._script = [item if isinstance(item, Answer) else Answer(item) for item in script]

    def _note(self, got: Got) -> Answer:
        with self._lock:
            self.got.append(got)
            found = [error.message for error in self._schema.iter_errors(got.json)] if self._schema else []
            self.violations += found
            if found:
                return Answer(400)
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def receiver(*script: Answer | int, schema: Mapping[str, Any] | None = None) -> Iterator[Receiver]:
    """A receiver for the length of a test."""
    instance = Receiver(*script, schema=schema)
    try:
        yield instance
    finally:
        instance.close()


@contextmanager
def raw_server(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[tuple[str, list[int]]]:
    """A server that speaks as `talk` says on each connection; yields its URL and a list that grows by connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    connections: list[int] = []
    threads: list[threading.Thread] = []

    def serve(accepted: socket.socket) -> None:
        with accepted, suppress(OSError):
            talk(accepted, over)

    def accept() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            connections.append(accepted.fileno())
            threads.append(threading.Thread(target=serve, args=(accepted,), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook", connections
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [accepting, *threads]:
            thread.join(10)
