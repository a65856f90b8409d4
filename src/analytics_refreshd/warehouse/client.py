"""Talks to a ClickHouse over HTTP."""

import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import IO
from urllib.parse import urlencode, urlsplit

from analytics_refreshd.core.redaction import redact_error
from analytics_refreshd.core.warehouse import FaultKind, WarehouseFault
from analytics_refreshd.warehouse.settings import WarehouseSettings

_MOST_BYTES = 1 << 20
_PIECE_BYTES = 64 << 10
_REMEDIES = {
    60: "a table is missing there: run analytics-refreshd migrate --warehouse",
    81: "[warehouse] database does not exist there: run analytics-refreshd migrate --warehouse",
    16: "a table there is older than this program: run analytics-refreshd migrate --warehouse",
    497: "its user lacks a right there: look at deploy/guides/warehouse.md",
    516: "it refused user or password: look at [warehouse] user and password_file",
    193: "it refused user or password: look at [warehouse] user and password_file",
    194: "it refused user or password: look at [warehouse] user and password_file",
    243: "its disk is full: make room there, and what waits is sent with the next run",
    115: "it knows no setting of this program: custom_settings_prefixes there must name SQL_, as in deploy/clickhouse",
    369: "all replicas that it could ask lag: look at system.replicas there",
    201: "its user has used up its quota: wait, or raise the quota there",
    202: "it runs as many queries as it may: ask again later",
    241: "its memory does not suffice for this: ask for less, or raise max_memory_usage there",
    159: "it took too long: ask for less, or allow it more time",
    396: "it would have answered too much: ask for less",
}
"""What to do, by the number of ClickHouse's exception."""
_KINDS = {159: FaultKind.TIMEOUT, 396: FaultKind.TOO_LARGE}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0", "N": "\\N"}
# the answer comes when all is written, so that an error is an error
_WHOLE = {"wait_end_of_query": "1"}
_SETTINGS = {
    **_WHOLE,
    "async_insert": "0",
    # what a batch is inserted as must be the same each time: its token is counted by block
    "input_format_parallel_parsing": "0",
    "max_insert_threads": "1",
    "max_insert_block_size": "1048576",
    "min_insert_block_size_rows": "1048576",
    "min_insert_block_size_bytes": "1073741824",
    "insert_deduplicate": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
}


class Client:
    """Sends statements, each over a connection of its own. Callable from any thread."""

    def __init__(self, settings: WarehouseSettings) -> None:
        self.settings = settings
        self._url = urlsplit(settings.url)
        self._lock = threading.Lock()
        self._stopped = False
        self._under_way: set[HTTPConnection] = set()

    def select(self, query: str, **parameters: object) -> list[list[str]]:
        """Return the rows of a query, of few and short values.

        `{name:Type}` in it stands for a parameter.
        """
        found = self.read(query, **parameters).decode()
        return [[unescaped(value) for value in line.split("\t")] for line in found.split("\n") if line]

    def read(self, query: str, **parameters: object) -> bytes:
        """Return what a query answers, as text with a line a row."""
        return self._ask(f"{query} format TabSeparated", None, {}, parameters)

    def execute(self, statement: str, **parameters: object) -> None:
        """Run a statement that returns nothing."""
        self._ask(statement, None, {}, parameters)

    def lines(
        self, statement: str, settings: Mapping[str, str], parameters: Mapping[str, str], seconds: float
    ) -> Iterator[bytes]:
        """Yield the lines of an answer without their ends, all within `seconds`.

        The statement says its own format, and `parameters` are written as ClickHouse reads them. It has settings of
        its own, which are sent beside it: with `readonly` among them nothing that its text says changes any.
        """
        ends_at = time.monotonic() + seconds
        given = {**_WHOLE, **settings, **{f"param_{name}": value for name, value in parameters.items()}}
        with self._answering(statement.encode(), given, {}, seconds) as (opened, answer):
            rest = b""
            while piece := answer.read1(_PIECE_BYTES):
                left = ends_at - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                opened.settimeout(left)
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
            if answer.length:
                # it has told of more than came
                raise IncompleteRead(b"", answer.length)
            if rest:
                yield rest

    def insert(self, table: str, columns: tuple[str, ...], body: IO[bytes], token: str | None = None) -> None:
        """Insert lines of text, as COPY writes them.

        The same token twice counts once.
        """
        statement = f"insert into {table} ({', '.join(columns)}) format TabSeparated"
        self._ask(statement, body, {"insert_deduplication_token": token} if token else {}, {})

    def stop(self) -> None:
        """Give up the requests under way; from any thread."""
        with self._lock:
            self._stopped = True
            under_way = [connection.sock for connection in self._under_way]
        for each in under_way:
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _ask(
        self, statement: str, body: IO[bytes] | None, settings: Mapping[str, str], parameters: Mapping[str, object]
    ) -> bytes:
        given = {**_SETTINGS, **settings, **_parameters(parameters)}
        headers = {}
        if body is None:
            sent: bytes | IO[bytes] = statement.encode()
        else:
            given["query"], sent = statement, body
            headers["Content-Length"] = str(body.seek(0, os.SEEK_END))
            body.seek(0)
        with self._answering(sent, given, headers, self.settings.request_seconds) as (_, answer):
            return answer.read()

    @contextmanager
    def _answering(
        self, body: bytes | IO[bytes], given: Mapping[str, str], headers: Mapping[str, str], seconds: float
    ) -> Iterator[tuple[socket.socket, HTTPResponse]]:
        """Open the answer to a request, and its socket. Raises WarehouseFault, also where the answer breaks off."""
        headers = {
            **headers,
            "X-ClickHouse-User": self.settings.user,
            "X-ClickHouse-Key": self.settings.password(),
            "User-Agent": "analytics-refreshd",
        }
        connection, opened = self._connection(), None
        try:
            with self._lock:
                if self._stopped:
                    raise WarehouseFault("the daemon is stopping", FaultKind.AWAY)
                self._under_way.add(connection)
            connection.connect()
            opened = connection.sock
            opened.settimeout(min(seconds, self.settings.request_seconds))
            connection.request("POST", f"{self._url.path.rstrip('/')}/?{urlencode(given)}", body=body, headers=headers)
            answer = connection.getresponse()
            number = answer.getheader("X-ClickHouse-Exception-Code", "")
            if answer.status != HTTPStatus.OK or number:
                raise _fault(answer.status, number, answer.read(_MOST_BYTES))
            yield opened, answer
        except (OSError, HTTPException) as error:
            late = opened is not None and isinstance(error, TimeoutError)
            text = f"the warehouse cannot be reached: {_why(error)}; look at [warehouse] url"
            raise WarehouseFault(text, FaultKind.TIMEOUT if late else FaultKind.AWAY) from None
        finally:
            with self._lock:
                self._under_way.discard(connection)
            connection.close()

    def _connection(self) -> HTTPConnection:
        host, seconds = self._url.hostname or "", self.settings.connect_seconds
        if self._url.scheme == "http":
            return HTTPConnection(host, self._url.port or 8123, timeout=seconds)
        try:
            context = ssl.create_default_context(cafile=self.settings.ca_file)
        except OSError:
            raise WarehouseFault("the authority of the warehouse cannot be read: look at [warehouse] ca_file") from None
        return HTTPSConnection(host, self._url.port or 8443, timeout=seconds, context=context)


def unescaped(value: str) -> str:
    """Read a value as ClickHouse and COPY write it."""
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), value) if "\\" in value else value


def _parameters(parameters: Mapping[str, object]) -> dict[str, str]:
    return {f"param_{name}": _escaped(str(value)) for name, value in parameters.items()}


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _fault(status: int, number: str, data: bytes) -> WarehouseFault:
    code = int(number) if number.isdecimal() else 0
    remedy = _REMEDIES.get(code)
    if remedy is None and status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        remedy = _REMEDIES[516]
    if remedy is not None:
        return WarehouseFault(f"the warehouse refused: {remedy}", _KINDS.get(code, FaultKind.REFUSED))
    text = redact_error(data.decode(errors="replace"))
    return WarehouseFault(f"the warehouse answered {status}: {text}")


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return "it refused the connection" if isinstance(error, ConnectionRefusedError) else "the connection broke"
