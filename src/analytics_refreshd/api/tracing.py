"""Makes each request a span, where traces are sent."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics_refreshd.core.telemetry import Tracer

Handler = Callable[[Request], Awaitable[Response]]


def traced(routes: Sequence[Route], tracer: Tracer) -> list[Route]:
    """Return the routes with spans around their handlers.

    A span names the route's template, never the path: that may hold ids, and its query more of them.
    """
    return [Route(each.path, _spanned(each.endpoint, each.path, tracer), methods=each.methods) for each in routes]


def _spanned(handle: Handler, route: str, tracer: Tracer) -> Handler:
    async def spanned(http: Request) -> Response:
        with tracer.request(http.method, route, http.headers) as span:
            answer = await handle(http)
            span.set(
                {
                    "http.response.status_code": answer.status_code,
                    "analytics.request_id": answer.headers["x-request-id"],
                }
            )
            if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.failed(str(answer.status_code))
            return answer

    return spanned
