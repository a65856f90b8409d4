"""Talks to a ClickHouse over HTTP."""

import os
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import IO
from urllib.parse import urlencode, urlsplit

from analytics_refreshd.core.redaction import redact_error
from analytics_refreshd.core.warehouse import WarehouseFault
from analytics_refreshd.warehouse.settings import WarehouseSettings

_MOST_BYTES = 1 << 20
_REMEDIES = {
    60: "a table is missing there: run analytics-refreshd migrate --warehouse",
    81: "[warehouse] database does not exist there: run analytics-refreshd migrate --warehouse",
    16: "a table there is older than this program: run analytics-refreshd migrate --warehouse",
    497: "its user lacks a right there: look at deploy/guides/warehouse.md",
    516: "it refused user or password: look at [warehouse] user and password_file",
    193: "it refused user or password: look at [warehouse] user and password_file",
    194: "it refused user or password: look at [warehouse] user and password_file",
    243: "its disk is full: make room there, and what waits is sent with the next run",
}
"""What to do, by the number of ClickHouse's exception."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0", "N": "\\N"}
_SETTINGS = {
    # the answer comes when all is written, so that an error is an error
    "wait_end_of_query": "1",
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
    """Sends statements, each over a connection of its own."""

    def __init__(self, settings: WarehouseSettings) -> None:
        self.settings = settings
        self._url = urlsplit(settings.url)
        self._lock = threading.Lock()
        self._stopped = False
        self._under_way: HTTPConnection | None = None

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

    def query(self, statement: str, settings: Mapping[str, str], parameters: Mapping[str, str]) -> bytes:
        """Return what a query answers that says its own format.

        It has settings of its own.
        """
        return self._ask(statement, None, settings, parameters)

    def insert(self, table: str, columns: tuple[str, ...], body: IO[bytes], token: str | None = None) -> None:
        """Insert lines of text, as COPY writes them.

        The same token twice counts once.
        """
        statement = f"insert into {table} ({', '.join(columns)}) format TabSeparated"
        self._ask(statement, body, {"insert_deduplication_token": token} if token else {}, {})

    def stop(self) -> None:
        """Give up the request under way; from any thread."""
        with self._lock:
            self._stopped = True
            opened = self._under_way.sock if self._under_way else None
        if opened is not None:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def _ask(
        self, statement: str, body: IO[bytes] | None, settings: Mapping[str, str], parameters: Mapping[str, object]
    ) -> bytes:
        given = {
            **_SETTINGS,
            **settings,
            **{f"param_{name}": _escaped(str(value)) for name, value in parameters.items()},
        }
        headers = {
            "X-ClickHouse-User": self.settings.user,
            "X-ClickHouse-Key": self.settings.password(),
            "User-Agent": "analytics-refreshd",
        }
        if body is None:
            sent: bytes | IO[bytes] = statement.encode()
        else:
            given["query"], sent = statement, body
            headers["Content-Length"] = str(body.seek(0, os.SEEK_END))
            body.seek(0)
        connection = self._connection()
        try:
            with self._lock:
                if self._stopped:
                    raise WarehouseFault("the daemon is stopping")
                self._under_way = connection
            connection.connect()
            connection.sock.settimeout(self.settings.request_seconds)
            connection.request("POST", f"{self._url.path.rstrip('/')}/?{urlencode(given)}", body=sent, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, HTTPException) as error:
            raise WarehouseFault(f"the warehouse cannot be reached: {_why(error)}; look at [warehouse] url") from None
        finally:
            self._under_way = None
            connection.close()
        number = answer.getheader("X-ClickHouse-Exception-Code", "")
        if answer.status == HTTPStatus.OK and not number:
            return data
        raise _fault(answer.status, number, data)

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


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _fault(status: int, number: str, data: bytes) -> WarehouseFault:
    remedy = _REMEDIES.get(int(number)) if number.isdecimal() else None
    if remedy is None and status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        remedy = _REMEDIES[516]
    if remedy is not None:
        return WarehouseFault(f"the warehouse refused: {remedy}")
    text = redact_error(data[:_MOST_BYTES].decode(errors="replace"))
    return WarehouseFault(f"the warehouse answered {status}: {text}")


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return "it refused the connection" if isinstance(error, ConnectionRefusedError) else "the connection broke"
