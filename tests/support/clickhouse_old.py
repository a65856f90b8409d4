"""Lets this program speak to ClickHouse 18.16, which Debian has: for the topology of a cluster, not for its SQL.

An HTTP server that rewrites each statement for that server and passes it on. `LACKS` is what it rewrites; what proves
those parts instead is in `tests/README.md`.
"""

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

LACKS: tuple[tuple[str, str], ...] = (
    # what stands for it: a text
    (r"DateTime64\(\d(?:, 'UTC')?\)", "String"),
    (r"\bBool\b", "String"),
    (r"now64\(\d\)", "toString(now())"),
    (r"SimpleAggregateFunction\(max, (\w+(?:\('UTC'\))?)\)", r"\1"),
    (r"LowCardinality\((\w+)\)", r"\1"),
    (r"\nttl [^\n]+", ""),
    (r"\ncomment '[^\n]*'", ""),
    (r"allow_nullable_key = 1, ", ""),
    # a key of it holds no NULL
    (
        r"hour_at, trigger_id, action_type, status, frozen, organization_id\)",
        "hour_at, ifNull(trigger_id, ''), action_type, status, frozen, ifNull(organization_id, ''))",
    ),
    # it knows a block by its rows alone, not by a token: equal sums of two batches would count once
    (r"(engine = ReplicatedSumming.*?replicated_deduplication_window = )\d+", r"\g<1>0"),
)
"""What 18.16 does not understand of our statements, and what stands for it in the tests of topology."""
_PASSED = frozenset({"wait_end_of_query"})
_PARAMETER = re.compile(r"\{(\w+):(\w+(?:\([^)]*\))?)\}")


class OldServer:
    """The way to one server."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.old = self  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        """Return the address for this program."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def serving(self) -> Iterator["OldServer"]:
        """Serve until the end of the block."""
        thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()


_LANDED = re.compile(r"(?<!as )\b(?:d\.)?(n|duration_ms|retry_count|trigger_id|landed_at)\b")
"""The columns of a batch that a view makes one of the same name of."""


def _landing(statement: str) -> str:
    """Give a batch's columns names of their own, and its views one level.

    18.16 takes the name of a result for the column, and reads a batch by the outermost SELECT of a view.
    """
    if re.match(r"(create table if not exists|insert into) \S+\.deltas\b", statement):
        return re.sub(r"(?<=[ (])(n|duration_ms|retry_count|trigger_id|landed_at)(?=[ ,)])", r"d_\1", statement)
    if not statement.startswith("create materialized view"):
        return statement
    head, _, query = statement.partition(" as\n")
    nested = re.match(r"select (.*?)\nfrom \(\n(.*)\)\s*\Z", query, re.DOTALL)
    query = _LANDED.sub(r"d_\1", nested[2] if nested else query)
    query = re.sub(r"\bd\.(?=\w)", "", query).replace(".deltas as d\n", ".deltas\n")
    for inner, outer in re.findall(r"(\w+) as (\w+)", nested[1] if nested else ""):
        query = re.sub(rf"\b{inner}\b", outer, query)
    return f"{head} as\n{query}"


def rewritten(statement: str, parameters: dict[str, str]) -> str:
    """Return a statement as 18.16 understands it."""
    if statement.startswith("select version()"):
        return statement.replace("version()", "'24.10'")
    statement = _landing(statement)
    for pattern, replacement in LACKS:
        statement = re.sub(pattern, replacement, statement, flags=re.DOTALL if "engine" in pattern else 0)
    return _PARAMETER.sub(lambda found: _value(parameters[found[1]], found[2]), statement)


def _value(text: str, kind: str) -> str:
    if kind.startswith(("UInt", "Int")):
        return str(int(text))
    quoted = "'{}'".format(text.replace("'", "\\'"))
    return f"toUUID({quoted})" if kind == "UUID" else quoted


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        old: OldServer = self.server.old  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        parameters = {name.removeprefix("param_"): value for name, value in given.items() if name.startswith("param_")}
        settings = {name: value for name, value in given.items() if name in _PASSED}
        if "query" in given:
            settings["query"] = rewritten(given["query"], parameters)
        else:
            body = rewritten(body.decode(), parameters).encode()
        headers = {name: self.headers[name] for name in ("X-ClickHouse-User", "X-ClickHouse-Key")}
        connection = http.client.HTTPConnection(*old.address, timeout=200)
        try:
            connection.request("POST", f"/?{urlencode(settings)}", body, headers)
            answer = connection.getresponse()
            data = answer.read()
        except OSError:
            self.close_connection = True
            self.connection.close()
            return
        finally:
            connection.close()
        number = re.match(rb"Code: (\d+)", data) if answer.status != 200 else None
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(data)))
        if number:
            self.send_header("X-ClickHouse-Exception-Code", number[1].decode())
        with suppress(OSError):
            # its client may have given up
            self.end_headers()
            self.wfile.write(data)
