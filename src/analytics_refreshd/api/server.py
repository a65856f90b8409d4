"""The HTTP server of the API's public port."""

import asyncio
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from analytics_refreshd.api.connections import HEADER_BYTES, ClientLimits, client_connections, drop_slow


def build_server(
    app: ASGIApp, limits: ClientLimits, alive: Callable[[], None], *, drain_seconds: int
) -> uvicorn.Server:
    """Make the server, with these limits on its clients.

    It calls `alive` each second, and gives up requests `drain_seconds` after it was told to end.
    """
    settings = uvicorn.Config(
        app,
        access_log=False,
        date_header=True,
        h11_max_incomplete_event_size=HEADER_BYTES,
        http=client_connections(limits),
        lifespan="off",
        # reached only where all of them have an answer under way
        limit_concurrency=limits.connections + 1,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=drain_seconds,
        timeout_keep_alive=int(limits.seconds),
        timeout_notify=1,
        ws="none",
    )
    server = uvicorn.Server(settings)

    before = float("-inf")

    async def each_second() -> None:
        nonlocal before
        alive()
        now = asyncio.get_running_loop().time()
        drop_slow(server.server_state.connections, limits, now, waited_by=before)
        before = now

    settings.callback_notify = each_second
    return server
