"""The ASGI application: paths, request ids, headers, log and metrics."""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route as HttpRoute
from starlette.types import Receive, Scope, Send

from analytics_refreshd.api.access.address import Network, client_address
from analytics_refreshd.api.access.principal import Admission
from analytics_refreshd.api.actions.endpoint import ACTION_PATHS, STATE, STATE_PATH, Actions
from analytics_refreshd.api.body import read_body
from analytics_refreshd.api.dispatch import ByPath
from analytics_refreshd.api.docs.render import DOCS_PATH, DOCS_POLICY, render_docs
from analytics_refreshd.api.endpoints import Endpoints
from analytics_refreshd.api.exchange import (
    JSON,
    PACKED,
    Reply,
    Request,
    Step,
    admitted,
    as_json,
    of_problem,
    packed,
)
from analytics_refreshd.api.openapi import OPENAPI_PATH, QUERIES_PATH, openapi, queries_document
from analytics_refreshd.api.problems import Problem, internal_error, unknown_parameter
from analytics_refreshd.api.questions.endpoint import ENDPOINT as QUESTIONS
from analytics_refreshd.api.questions.endpoint import QUESTION_PATH, QUESTIONS_PATH, Questions
from analytics_refreshd.api.routes import BASE, ORGANIZATION, STREAM_PATHS, Route
from analytics_refreshd.api.spool import Spool
from analytics_refreshd.api.stream.endpoint import ENDPOINT as STREAM
from analytics_refreshd.api.stream.endpoint import Streams
from analytics_refreshd.api.tracing import traced
from analytics_refreshd.api.web.files import PAGES_POLICY, web_files
from analytics_refreshd.api.workers import Workers
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.core.telemetry import Tracer

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HTML = "text/html; charset=utf-8"
_POLICY = "Content-Security-Policy"
_NOTHING_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_HEADERS = {
    _POLICY: _NOTHING_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
OTHER = "other"
"""The endpoint of a request to no endpoint of the catalogue."""


@dataclass(frozen=True, slots=True)
class Served:
    """A request that was answered, for log and metrics."""

    request_id: str
    method: str
    endpoint: str
    seconds: float
    reply: Reply


Work = Callable[[Request], Step]


@dataclass(frozen=True, slots=True)
class Answerers:
    """What answers requests: for figures, streams, what operators ask for, and questions that people keep."""

    endpoints: Endpoints
    streams: Streams
    actions: Actions
    questions: Questions


class Api:
    """Builds the application. What waits for the database does so in one of `threads` threads.

    `trusted` proxies are believed whom they forward. While `closing`, each answer is the last one on its connection.
    """

    def __init__(
        self,
        answerers: Answerers,
        routes: Sequence[Route],
        clock: Clock,
        threads: int,
        served: Callable[[Served], None],
        trusted: Sequence[Network] = (),
        tracer: Tracer | None = None,
    ) -> None:
        self._endpoints = answerers.endpoints
        self._clock = clock
        self._workers = Workers(threads)
        self._served = served
        self._trusted = trusted
        self.closing: Callable[[], bool] = lambda: False
        described = openapi(routes)
        document, page = as_json(described), render_docs(described)
        queries = as_json({"data": queries_document(routes)})
        paths = [
            HttpRoute(path, self._handler(route.name, partial(answerers.endpoints.answer, route)), methods=["GET"])
            for route in routes
            for path in route.paths
        ]
        paths += [HttpRoute(path, self._streaming(answerers.streams), methods=["GET"]) for path in STREAM_PATHS]
        paths.sort(key=lambda path: "{" in path.path)
        paths += [
            HttpRoute(QUERIES_PATH, self._handler("meta/queries", self._queries(queries)), methods=["GET"]),
            HttpRoute(OPENAPI_PATH, self._handler(OTHER, _open(document, JSON)), methods=["GET"]),
            HttpRoute(DOCS_PATH, self._handler(OTHER, _open(page, _HTML, DOCS_POLICY)), methods=["GET"]),
        ]
        for file in web_files():
            work = _open(file.content, file.content_type, PAGES_POLICY, file.cache_control)
            paths.append(HttpRoute(file.path, self._handler(OTHER, work), methods=["GET"]))
        paths += self._written(answerers.actions, answerers.questions)
        if tracer is not None:
            paths = traced(paths, tracer)
        rest = Starlette(routes=paths, exception_handlers={HTTPException: self._refused, Exception: self._failed})
        rest.router.redirect_slashes = False
        self.asgi = ByPath(paths, rest, self._failed)

    def _written(self, actions: Actions, questions: Questions) -> list[HttpRoute]:
        every, one = (self._handler(QUESTIONS, _waiting(work)) for work in (questions.every, questions.one))
        return [
            *(
                HttpRoute(path, self._handler(str(kind), _waiting(partial(actions.ask, kind))), methods=["POST"])
                for path, kind in ACTION_PATHS.items()
            ),
            HttpRoute(STATE_PATH, self._handler(STATE, _waiting(actions.state)), methods=["GET"]),
            HttpRoute(QUESTIONS_PATH, every, methods=["GET", "POST"]),
            HttpRoute(QUESTION_PATH, one, methods=["GET", "PUT", "DELETE"]),
        ]

    def _queries(self, body: bytes) -> Work:
        def listed(request: Request) -> Reply:
            for name, _ in request.items:
                if name != ORGANIZATION:
                    raise unknown_parameter(name, [ORGANIZATION])
            return Reply(200, body, headers={"Cache-Control": "private, no-cache"})

        def admit(request: Request) -> Admission:
            return self._endpoints.gate.admit(request.headers, request.item(ORGANIZATION), request.address, 1)

        return _waiting(lambda request: admitted(request, lambda: admit(request), lambda _: listed(request)))

    def _handler(self, endpoint: str, work: Work) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def handle(http: HttpRequest) -> Response:
            began = self._clock.monotonic()
            request = self._request(http)
            if http.method in ("POST", "PUT"):
                try:
                    request = replace(request, body=await read_body(http))
                except Problem as problem:
                    reply = of_problem(problem, request.request_id)
                    return self._respond(http, endpoint, request.request_id, began, reply)
            step = work(request)
            reply = step if isinstance(step, Reply) else await self._workers.run(step)
            return self._respond(http, endpoint, request.request_id, began, reply)

        return handle

    def _streaming(self, streams: Streams) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def handle(http: HttpRequest) -> Response:
            began = self._clock.monotonic()
            request = self._request(http)
            reply, listener = await self._workers.run(partial(streams.admit, request))
            if listener is not None and http.method != "HEAD":
                reply, listener = streams.join(reply, listener)
            head = self._respond(http, STREAM, request.request_id, began, reply)
            return head if listener is None or http.method == "HEAD" else streams.response(listener, head)

        return handle

    def _request(self, http: HttpRequest) -> Request:
        scope = http.scope
        address = scope["client"][0] if scope["client"] else ""
        if self._trusted:
            address = client_address(address, http.headers.getlist("x-forwarded-for"), self._trusted)
        query = scope["query_string"]
        return Request(
            scope["path"],
            {name: str(value) for name, value in http.path_params.items()},
            parse_qsl(query.decode("latin-1"), keep_blank_values=True) if query else (),
            http.headers,
            address,
            _request_id(http.headers),
            method=http.method,
        )

    async def _refused(self, http: HttpRequest, error: Exception) -> Response:
        """Answer what no route takes."""
        began = self._clock.monotonic()
        assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for it
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = sorted(method.strip() for method in headers.get("Allow", "GET, HEAD").split(","))
            problem = Problem(405, "method_not_allowed", f"only {' and '.join(allowed)}", headers=headers)
        elif error.status_code == HTTPStatus.NOT_FOUND:
            problem = Problem(404, "not_found", f"there is no such path; {DOCS_PATH} lists those of {BASE}")
        else:
            problem = Problem(error.status_code, "bad_request", "the request cannot be answered", headers=headers)
        request_id = _request_id(http.headers)
        return self._respond(http, OTHER, request_id, began, of_problem(problem, request_id))

    async def _failed(self, http: HttpRequest, error: Exception) -> Response:
        request_id = _request_id(http.headers)
        reply = of_problem(internal_error(), request_id)
        reply.exception = error
        return self._respond(http, OTHER, request_id, self._clock.monotonic(), reply)

    def _respond(self, http: HttpRequest, endpoint: str, request_id: str, began: float, reply: Reply) -> Response:
        self._served(Served(request_id, http.method, endpoint, self._clock.monotonic() - began, reply))
        headers = {**_HEADERS, **reply.headers, "X-Request-ID": request_id}
        if self.closing():
            headers["Connection"] = "close"
        if reply.status not in (HTTPStatus.NOT_MODIFIED, HTTPStatus.NO_CONTENT):
            headers["Content-Type"] = reply.content_type
        if reply.spool is not None:
            return _Spooled(reply.spool, reply.status, headers)
        return Response(reply.body, reply.status, headers)


class _Spooled(StreamingResponse):
    """Sends what a spool holds, and closes it, also where the client leaves before the end."""

    def __init__(self, spool: Spool, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(spool.pieces(), status, headers)
        self._spool = spool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._spool.close()


def _waiting(work: Callable[[Request], Reply]) -> Work:
    """Return the work as one that may always wait."""
    return lambda request: partial(work, request)


def _open(
    document: bytes, content_type: str, policy: str = _NOTHING_POLICY, cache_control: str = "public, max-age=300"
) -> Work:
    """Answer everybody with a document that holds no data.

    It is compressed once: who has no key could make the server compress it again and again.
    """
    headers = {"Cache-Control": cache_control, _POLICY: policy}
    short = packed(document)

    def answer(request: Request) -> Reply:
        if short is None or not request.unpacks:
            return Reply(200, document, content_type, headers)
        return Reply(200, short, content_type, {**headers, **PACKED, "Vary": "Accept-Encoding"})

    return answer


def _request_id(headers: Mapping[str, str]) -> str:
    """Return the caller's id where it is one that can be logged, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
