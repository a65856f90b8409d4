"""A ClickHouse for tests: its HTTP interface, served by a process of its own onto chdb.

`python tests/support/clickhouse.py DIRECTORY [PORT]` prints its port and serves until it is ended. What is asked at
`/-/fault?NAME` happens to the next batch: `lose-answer` does it and answers nothing, `half` takes half of it and
breaks off, `hold` does it and lets its client wait. The user is `refreshd`, the password `warehouse`.
"""

import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

USER, PASSWORD = "refreshd", "warehouse"
_FORMAT = re.compile(r"\s+format\s+TabSeparated\s*\Z", re.IGNORECASE)
_OF_INSERTS = (
    "insert_deduplication_token", "insert_deduplicate", "deduplicate_blocks_in_dependent_materialized_views",
    "async_insert", "max_insert_threads", "max_insert_block_size", "min_insert_block_size_rows",
    "min_insert_block_size_bytes", "input_format_parallel_parsing",
)  # fmt: skip

needs_chdb = pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed: pip install chdb")


class ClickHouse:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.port = port

    @property
    def url(self) -> str:
        """Return the address of its HTTP interface."""
        return f"http://127.0.0.1:{self.port}"

    def fault(self, name: str) -> None:
        """Let `name` happen to the next batch."""
        with urllib.request.urlopen(f"{self.url}/-/fault?{name}", timeout=60) as answer:
            answer.read()


@contextmanager
def serving(directory: Path, port: int = 0) -> Iterator[ClickHouse]:
    """Serve what is in `directory`."""
    command = [sys.executable, __file__, str(directory), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield ClickHouse(process, int(process.stdout.readline()))
        finally:
            process.kill()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, session: Any) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.session = session
        self.turn = threading.Lock()
        self.faults: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self.server.faults.append(urlsplit(self.path).query)
        self._answer(200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if (self.headers.get("X-ClickHouse-User"), self.headers.get("X-ClickHouse-Key")) != (USER, PASSWORD):
            self._answer(403, b"Code: 516. DB::Exception: Authentication failed", "516")
            return
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        statement = given.pop("query", None)
        text = statement if statement is not None else body.decode()
        inserts = statement is not None
        landing = inserts and ".deltas" in text
        fault = self.server.faults.pop() if landing and self.server.faults else ""
        lines = body.decode("utf-8", "surrogateescape") if inserts else ""
        if fault == "half":
            lines = lines[: lines.rfind("\n", 0, len(lines) // 2) + 1]
        try:
            found = self._run(text, lines if inserts else None, given)
        except Exception as error:
            number = re.search(r"Code: (\d+)", str(error))
            self._answer(500, str(error).encode(), number[1] if number else "0")
            return
        if fault == "hold":
            threading.Event().wait(600)
        if fault:
            self.close_connection = True
            self.connection.close()
            return
        self._answer(200, found)

    def _run(self, text: str, lines: str | None, given: dict[str, str]) -> bytes:
        parameters = {name.removeprefix("param_"): value for name, value in given.items() if name.startswith("param_")}
        bare = _FORMAT.sub("", text)
        with self.server.turn:
            if lines is not None:
                settings = ", ".join(f"{name} = '{given[name]}'" for name in _OF_INSERTS if name in given)
                if lines:
                    self.server.session.query(f"{bare} settings {settings} format TabSeparated\n{lines}")
                return b""
            answer = self.server.session.query(bare, "TabSeparated", params=parameters)
            return answer.bytes() if answer is not None else b""

    def _answer(self, status: int, body: bytes, number: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if number:
            self.send_header("X-ClickHouse-Exception-Code", number)
        self.end_headers()
        self.wfile.write(body)


def _main(directory: str, port: str = "0") -> None:
    # of a package without types, which may not be there
    session = import_module("chdb.session").Session(directory)
    server = _Server(int(port), session)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _main(*sys.argv[1:])
