"""Sends a listener its events, as long as it reads them."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from analytics_refreshd.api.stream.hub import Hub
from analytics_refreshd.api.stream.listener import Listener
from analytics_refreshd.core.stream import Ending

SLOW_SECONDS = 4.0
"""How long a client may leave unread what it was sent, before its stream ends."""
TELL_SECONDS = 8.0
"""How long after that it can still be told why."""


class StreamResponse(Response):
    """Sends until the stream ends. `finished` is called then, once."""

    def __init__(
        self,
        hub: Hub,
        listener: Listener,
        headers: Mapping[str, str],
        finished: Callable[[Listener], None],
        slow_seconds: float = SLOW_SECONDS,
        tell_seconds: float = TELL_SECONDS,
    ) -> None:
        super().__init__(status_code=200, headers=headers)
        # a stream has no length
        del self.headers["Content-Length"]
        self._hub = hub
        self._listener = listener
        self._finished = finished
        self._slow_seconds = slow_seconds
        self._tell_seconds = tell_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then events as they come."""
        watching = asyncio.create_task(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            last = False
            while not last and self._listener.ending is not Ending.GONE:
                await self._listener.wake.wait()
                self._listener.wake.clear()
                body, last = self._hub.take(self._listener)
                if body or last:
                    last = await self._send(send, body, last=last)
        finally:
            watching.cancel()
            self._hub.leave(self._listener)
            self._finished(self._listener)

    async def _send(self, send: Send, body: bytes, *, last: bool) -> bool:
        """Send bytes; return whether they were the last. A client that does not read them is told when it does."""
        try:
            async with asyncio.timeout(self._slow_seconds):
                await send({"type": "http.response.body", "body": body, "more_body": not last})
                return last
        except TimeoutError:
            self._hub.end([self._listener], Ending.SLOW)
            body, _ = self._hub.take(self._listener)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._tell_seconds):
                await send({"type": "http.response.body", "body": body, "more_body": False})
        return True

    async def _watch(self, receive: Receive) -> None:
        """Notice that the client is gone."""
        with suppress(asyncio.CancelledError):
            while (await receive())["type"] != "http.disconnect":
                pass
            self._hub.end([self._listener], Ending.GONE)
