"""Talks to a ClickHouse over HTTP."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from analytics_refreshd.warehouse.connections import Connections, exchange
from analytics_refreshd.warehouse.refusals import not_understood, refusal, too_long, unreachable
from analytics_refreshd.warehouse.settings import WarehouseSettings

_MOST_ERROR_BYTES = 4096
_MOST_VALUES_BYTES = 16 << 20
_MOST_BYTES = 512 << 20
_MOST_LINE_BYTES = 32 << 20
_PIECE_BYTES = 64 << 10
_MOST_NUMBER = 2**63
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
    """Sends statements. Callable from any thread.

    Whatever answers, each request is over within its time and takes a bounded amount of memory, or raises
    WarehouseFault.
    """

    def __init__(self, settings: WarehouseSettings) -> None:
        self.settings = settings
        self._path = urlsplit(settings.url).path.rstrip("/")
        self._connections = Connections(settings)

    def select(self, query: str, *kinds: Callable[[str], Any], **parameters: object) -> list[list[Any]]:
        """Return the rows of a query, of few and short values.

        `{name:Type}` in it stands for a parameter. Where `kinds` are given, each row has a value of each.
        """
        found = self._ask(f"{query} format TabSeparated", None, {}, parameters, _MOST_VALUES_BYTES)
        lines = found.decode(errors="replace").split("\n")
        rows = [[unescaped(value) for value in line.split("\t")] for line in lines if line]
        if not kinds:
            return rows
        try:
            return [[kind(value) for kind, value in zip(kinds, row, strict=True)] for row in rows]
        except ValueError:
            raise not_understood() from None

    def one(self, query: str, *kinds: Callable[[str], Any], **parameters: object) -> list[Any]:
        """Return the only row of a query."""
        rows = self.select(query, *(kinds or (str,)), **parameters)
        if len(rows) != 1:
            raise not_understood()
        return rows[0]

    def read(self, query: str, **parameters: object) -> bytes:
        """Return what a query answers, as text with a line a row."""
        return self._ask(f"{query} format TabSeparated", None, {}, parameters, _MOST_BYTES)

    def execute(self, statement: str, **parameters: object) -> None:
        """Run a statement that returns nothing."""
        self._ask(statement, None, {}, parameters, _MOST_VALUES_BYTES)

    def lines(
        self, statement: str, settings: Mapping[str, str], parameters: Mapping[str, str], seconds: float
    ) -> Iterator[bytes]:
        """Yield the lines of an answer without their ends, all within `seconds`.

        The statement says its own format, and `parameters` are written as ClickHouse reads them. It has settings of
        its own, which are sent beside it: with `readonly` among them nothing that its text says changes any.
        """
        given = {**_WHOLE, **settings, **{f"param_{name}": value for name, value in parameters.items()}}
        with self._answering(statement.encode(), given, {}, seconds) as answer:
            rest = b""
            for piece in _pieces(answer, _MOST_BYTES):
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
                if len(rest) > _MOST_LINE_BYTES:
                    raise too_long(_MOST_LINE_BYTES)
            if rest:
                yield rest

    def insert(self, table: str, columns: tuple[str, ...], body: IO[bytes], token: str | None = None) -> None:
        """Insert lines of text, as COPY writes them.

        The same token twice counts once.
        """
        statement = f"insert into {table} ({', '.join(columns)}) format TabSeparated"
        settings = {"insert_deduplication_token": token} if token else {}
        self._ask(statement, body, settings, {}, _MOST_VALUES_BYTES)

    def stop(self) -> None:
        """Give up the requests under way; from any thread."""
        self._connections.stop()

    def _ask(
        self,
        statement: str,
        body: IO[bytes] | None,
        settings: Mapping[str, str],
        parameters: Mapping[str, object],
        most_bytes: int,
    ) -> bytes:
        given = {**_SETTINGS, **settings, **_parameters(parameters)}
        headers = {}
        if body is None:
            sent: bytes | IO[bytes] = statement.encode()
        else:
            given["query"], sent = statement, body
            headers["Content-Length"] = str(body.seek(0, os.SEEK_END))
            body.seek(0)
        with self._answering(sent, given, headers, self.settings.request_seconds) as answer:
            return b"".join(_pieces(answer, most_bytes))

    @contextmanager
    def _answering(
        self, body: bytes | IO[bytes], given: Mapping[str, str], headers: Mapping[str, str], seconds: float
    ) -> Iterator[HTTPResponse]:
        """Open the answer to a request. Raises WarehouseFault, also where the answer breaks off."""
        password, late = self.settings.password(), False
        headers = {
            **headers,
            "X-ClickHouse-User": self.settings.user,
            "X-ClickHouse-Key": password,
            "User-Agent": "analytics-refreshd",
        }
        try:
            with self._connections.opened() as connection:
                late = True
                path = f"{self._path}/?{urlencode(given)}"
                until = time.monotonic() + min(seconds, self.settings.request_seconds)
                # closed in any case: with its last answer a connection leaves its socket to that
                with exchange(connection, path, body, headers, until) as answer:
                    number = answer.getheader("X-ClickHouse-Exception-Code", "")
                    if answer.status != HTTPStatus.OK or number:
                        raise refusal(answer.status, number, answer.read(_MOST_ERROR_BYTES), password)
                    yield answer
                    if not answer.isclosed():
                        # what is left of it would be the answer to the next request
                        connection.close()
        except (OSError, HTTPException) as error:
            raise unreachable(error, late=late) from None


def natural(text: str) -> int:
    """Read a number that a database of ours can hold. Raises ValueError."""
    number = int(text)
    if not 0 <= number < _MOST_NUMBER:
        raise ValueError
    return number


def unescaped(value: str) -> str:
    """Read a value as ClickHouse and COPY write it."""
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), value) if "\\" in value else value


def _pieces(answer: HTTPResponse, most_bytes: int) -> Iterator[bytes]:
    """Yield what an answer has, as it comes, however much its server says that it will be."""
    left = most_bytes
    while piece := answer.read1(_PIECE_BYTES):
        left -= len(piece)
        if left < 0:
            raise too_long(most_bytes)
        yield piece
    if answer.length:
        # it has told of more than came
        raise IncompleteRead(b"", answer.length)
    answer.close()


def _parameters(parameters: Mapping[str, object]) -> dict[str, str]:
    return {f"param_{name}": _escaped(str(value)) for name, value in parameters.items()}


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
