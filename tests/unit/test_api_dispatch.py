"""How the API's application hands requests on, and what it compresses."""

import asyncio
import gzip
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from analytics_refreshd.api.dispatch import ByPath
from analytics_refreshd.api.exchange import LEAST_PACKED_BYTES

LONG = b"x" * LEAST_PACKED_BYTES
SHORT = LONG[1:]
Sent = tuple[int, dict[str, str], bytes]


def ask(app: ByPath, path: str, method: str = "GET", **headers: str) -> Sent:
    """Send a request; return status, headers and body."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "client": ("192.0.2.1", 1),
    }

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        try:
            await app(scope, receive, send)
        except ZeroDivisionError:
            sent.append({"type": "raised", "body": b" raised"})

    asyncio.run(run())
    head, *rest = sent
    found = {name.decode(): value.decode() for name, value in head["headers"]}
    return head["status"], found, b"".join(message.get("body", b"") for message in rest)


@pytest.fixture(scope="module")
def app() -> ByPath:
    """Answers of several kinds."""

    def plain(body: bytes, **headers: str) -> Any:
        async def handle(_http: Request) -> Response:
            return Response(body, headers={"Content-Type": "text/plain", **headers})

        return handle

    async def fails(_http: Request) -> Response:
        raise ZeroDivisionError

    async def stream(_http: Request) -> Response:
        return StreamingResponse(iter([LONG, LONG]), media_type="text/plain")

    async def place(http: Request) -> Response:
        return PlainTextResponse(http.path_params["place"])

    async def failed(_http: Request, _error: Exception) -> Response:
        return PlainTextResponse("a defect", 500)

    routes = [
        Route("/long", plain(LONG)),
        Route("/short", plain(SHORT)),
        Route("/varies", plain(LONG, Vary="Accept, Accept-Encoding")),
        Route("/packed", plain(gzip.compress(LONG), **{"Content-Encoding": "gzip"})),
        Route("/fails", fails),
        Route("/stream", stream),
        Route("/of/{place}", place),
    ]
    return ByPath(routes, Starlette(routes=routes), failed)


def test_paths_find_their_handlers(app: ByPath) -> None:
    """With places and without; other paths and methods are refused."""
    assert ask(app, "/of/here")[::2] == (200, b"here")
    assert ask(app, "/short")[::2] == (200, SHORT)
    assert ask(app, "/short", "HEAD")[0] == 200
    assert [ask(app, path, method)[0] for path, method in (("/none", "GET"), ("/short", "POST"))] == [404, 405]


def test_what_is_long_is_compressed_for_who_takes_that(app: ByPath) -> None:
    """What is short, or compressed already, is left; caches learn what the answer depends on."""
    for path, whole in (("/long", LONG), ("/varies", LONG), ("/stream", LONG * 2)):
        status, headers, body = ask(app, path, accept_encoding="br, gzip")
        assert (status, headers["content-encoding"], gzip.decompress(body)) == (200, "gzip", whole)
        status, headers, body = ask(app, path)
        assert (status, headers.get("content-encoding"), body) == (200, None, whole)
        assert headers["vary"].count("Accept-Encoding") == 1
    for encodings in ({}, {"accept_encoding": "gzip"}):
        _, headers, body = ask(app, "/short", **encodings)
        assert (headers.get("content-encoding"), headers.get("vary"), body) == (None, None, SHORT)
        _, headers, body = ask(app, "/packed", **encodings)
        assert (headers["content-encoding"], gzip.decompress(body)) == ("gzip", LONG)


def test_a_defect_is_answered_and_told_to_the_server(app: ByPath) -> None:
    """It ends the connection then."""
    assert ask(app, "/fails")[::2] == (500, b"a defect raised")
