"""Hands requests to what answers them, and compresses the answers."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from analytics_refreshd.api.exchange import LEAST_PACKED_BYTES

_VARY, _PACKED = "Accept-Encoding", "gzip"
_LEVEL = 5


class ByPath:
    """The application: a path without places is looked up, all others are left to `rest`.

    Neither router nor middleware is passed on the way, which were a tenth of the CPU time of a short answer. `failed`
    makes the response to an exception of a handler.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        rest: ASGIApp,
        failed: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        whole = [route for route in reversed(routes) if "{" not in route.path]
        self._whole = {(method, route.path): route.endpoint for route in whole for method in route.methods or ()}
        self._rest = compressing(rest)
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        handle = self._whole.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if handle is None or scope.get("root_path"):
            await self._rest(scope, receive, send)
            return
        http = Request(scope, receive, send)
        try:
            response = await handle(http)
        except Exception as error:
            await (await self._failed(http, error))(scope, receive, send)
            # for the server, which ends the connection
            raise
        await _prepared(response, http)(scope, receive, send)


def compressing(app: ASGIApp) -> ASGIApp:
    """Return the application with its answers compressed for who takes that."""
    return GZipMiddleware(app, minimum_size=LEAST_PACKED_BYTES, compresslevel=_LEVEL)


def _prepared(response: Response, http: Request) -> ASGIApp:
    """Return what sends the response, as `compressing` would."""
    if type(response) is not Response:
        return compressing(response)
    if len(response.body) < LEAST_PACKED_BYTES or "content-encoding" in response.headers:
        return response
    if _PACKED in http.headers.get("accept-encoding", ""):
        return compressing(response)
    if _VARY not in response.headers.get("vary", ""):
        response.headers.add_vary_header(_VARY)
    return response
