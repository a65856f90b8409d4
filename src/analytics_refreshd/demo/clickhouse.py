"""Serves ClickHouse over HTTP, by the one within chdb.

`python -m analytics_refreshd.demo.clickhouse DIRECTORY PASSWORD_FILE [PORT]` prints its port, and serves on loopback
until it is ended. It is for the demo and for tests. One statement runs at a time. What a request says beside it, its
settings, chdb takes in the statement's own clause alone: they are put there. It knows no settings of one's own.
"""

import hmac
import re
import sys
import tempfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from analytics_refreshd.demo.ports import HOST
from analytics_refreshd.warehouse.quoting import literal

USER = "refreshd"
_FORMAT = re.compile(r"\s+format\s+(\w+)\s*\Z", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")
_REFUSED = 516
_OF_INSERTS = (
    "insert_deduplication_token", "insert_deduplicate", "deduplicate_blocks_in_dependent_materialized_views",
    "async_insert", "max_insert_threads", "max_insert_block_size", "min_insert_block_size_rows",
    "min_insert_block_size_bytes", "input_format_parallel_parsing",
)  # fmt: skip
_SETTING = re.compile(r"[\w-]{1,200}")
_OF_HTTP = ("wait_end_of_query",)
_OWN = re.compile(r"(?:param|SQL)_")
_LONG_BYTES = 1 << 20
_VALUE = re.compile(r"[\w.,-]*")


def _text(body: bytes) -> str | None:
    """Return what is UTF-8 and not empty."""
    try:
        return body.decode() or None
    except UnicodeDecodeError:
        return None


def installed() -> bool:
    """Whether chdb is there, which the extra `demo-warehouse` brings."""
    return find_spec("chdb") is not None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, session: Any, password: str, renamed: Mapping[str, str]) -> None:
        super().__init__((HOST, port), _Handler)
        self.session = session
        self.password = password
        self.renamed = renamed
        self.turn = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        """Run a statement: the body, or the parameter `query`, whose rows are the body then."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            # the client went in the middle of it: a part of a batch is none
            self.close_connection = True
            return
        if not self._is_known():
            self._answer(403, f"Code: {_REFUSED}. DB::Exception: Authentication failed".encode(), str(_REFUSED))
            return
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        statement = given.pop("query", None)
        try:
            with self.server.turn:
                found = (
                    self._select(body.decode(), given) if statement is None else self._insert(statement, body, given)
                )
        except Exception as error:
            number = _CODE.search(str(error))
            self._answer(500, str(error).encode(), number[1] if number else "0")
            return
        self._answer(200, found)

    def _is_known(self) -> bool:
        user, key = self.headers.get("X-ClickHouse-User", ""), self.headers.get("X-ClickHouse-Key", "")
        return user == USER and hmac.compare_digest(key.encode(), self.server.password.encode())

    def _select(self, statement: str, given: Mapping[str, str]) -> bytes:
        parameters = {name.removeprefix("param_"): value for name, value in given.items() if name.startswith("param_")}
        bare, form = _FORMAT.sub("", statement), _FORMAT.search(statement)
        if form is not None:
            bare += self._clause(given)
        answer = self.server.session.query(bare, form[1] if form else "TabSeparated", params=parameters)
        return answer.bytes() if answer is not None else b""

    def _clause(self, given: Mapping[str, str]) -> str:
        """Return the settings of a query as its clause; a value that has quotes is one of their own."""
        names = self.server.renamed
        every = {
            names.get(name, name): value.strip("'")
            for name, value in given.items()
            if name in names or not (name in _OF_INSERTS or name in _OF_HTTP or _OWN.match(name))
        }
        written = [f"{name} = '{value}'" for name, value in every.items() if _VALUE.fullmatch(value)]
        return f"\nsettings {', '.join(written)}" if written else ""

    def _insert(self, statement: str, body: bytes, given: Mapping[str, str]) -> bytes:
        settings = [f"{name} = '{given[name]}'" for name in _OF_INSERTS if _SETTING.fullmatch(given.get(name, ""))]
        bare, query = _FORMAT.sub("", statement), self.server.session.query
        rows = _text(body) if len(body) < _LONG_BYTES else None
        if rows is not None:
            query(f"{bare} settings {', '.join(settings)} format TabSeparated\n{rows}")
        elif body:
            # a statement is text, and one with many rows in it is slow
            with tempfile.NamedTemporaryFile(suffix=".tsv") as file:
                file.write(body)
                file.flush()
                query(f"{bare} from infile {literal(file.name)} settings {', '.join(settings)} format TabSeparated")
        return b""

    def _answer(self, status: int, body: bytes, number: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if number:
            self.send_header("X-ClickHouse-Exception-Code", number)
        self.end_headers()
        self.wfile.write(body)


def serve(
    directory: str, password_file: str, port: str = "0", *, config: Path | None = None, renamed: Mapping[str, str]
) -> None:
    """Print the port, and serve.

    chdb reads a `config` file, if there is one. Settings that are `renamed` are given to it under another name.
    """
    more = f"?config-file={config}" if config is not None else ""
    # of a package without types, which may not be there
    session = import_module("chdb.session").Session(f"{directory}{more}")
    server = _Server(int(port), session, Path(password_file).read_text().strip(), renamed)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(*sys.argv[1:], renamed={})
