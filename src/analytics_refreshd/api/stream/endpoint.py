"""Opens streams: who may listen to what, and the answer where nobody may."""

import resource
from collections.abc import Callable, Sequence

from starlette.responses import Response

from analytics_refreshd.api.access.gate import AccessGate
from analytics_refreshd.api.access.principal import AccessDenied, Principal
from analytics_refreshd.api.exchange import Reply, Request, of_problem
from analytics_refreshd.api.freshness import Timing
from analytics_refreshd.api.problems import Problem, invalid, of_denial, unknown_parameter
from analytics_refreshd.api.routes import ORGANIZATION
from analytics_refreshd.api.stream.hub import Hub, StreamFull
from analytics_refreshd.api.stream.listener import Credentials, Listener
from analytics_refreshd.api.stream.poller import Poller
from analytics_refreshd.api.stream.reading import LiveReader
from analytics_refreshd.api.stream.response import StreamResponse
from analytics_refreshd.api.stream.wire import MEDIA_TYPE
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.core.stream import (
    ForbiddenTopicError,
    Full,
    StreamLimits,
    Topic,
    TopicError,
    topics_of,
)

ENDPOINT = "stream"
TOPICS = "topics"
_COST = 1
_HEADERS = {
    "Cache-Control": "no-store",
    # nginx would collect events before it passes them on
    "X-Accel-Buffering": "no",
}


def stream_limits(streams: int, per_key: int) -> StreamLimits:
    """Return how many streams configuration and descriptors allow."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return StreamLimits(streams if descriptors < 0 else min(streams, descriptors // 2), per_key)


class Streams:
    """The stream of a process, its listeners and its poller.

    `failed` gets what the poller met, `finished` each listener whose stream ended.
    """

    def __init__(
        self,
        gate: AccessGate,
        reader: LiveReader,
        timing: Timing,
        clock: Clock,
        limits: StreamLimits,
        *,
        failed: Callable[[Exception], None],
        finished: Callable[[Listener], None],
    ) -> None:
        self._gate = gate
        self._clock = clock
        self._finished = finished
        self.hub = Hub(limits, clock)
        self._poller = Poller(self.hub, reader, timing, clock, check=gate.identify, failed=failed)

    def start(self) -> None:
        """Begin to wait for listeners."""
        self._poller.start()

    def close(self) -> None:
        """End every stream, and tell why; open none any more."""
        self._poller.stop()
        self.hub.close()

    def admit(self, request: Request) -> tuple[Reply, Listener | None]:
        """Return a listener, or None and the problem. It may wait for the database."""
        headers: dict[str, str] = {}
        try:
            organization = request.item(ORGANIZATION)
            admission = self._gate.admit(request.headers, organization, request.address, _COST)
            headers |= admission.headers
            topics = _topics(request.items, admission.principal)
        except AccessDenied as denial:
            return of_problem(of_denial(denial), request.request_id), None
        except Problem as problem:
            reply = of_problem(problem, request.request_id)
            return _with(reply, headers, admission.principal), None
        now = self._clock.monotonic()
        credentials = Credentials.of(request.headers, organization, request.address)
        listener = Listener(
            admission.principal,
            topics,
            credentials,
            request.request_id,
            began=now,
            checked_at=now,
            last_event_id=request.headers.get("last-event-id"),
        )
        return _with(Reply(200, b"", MEDIA_TYPE, dict(_HEADERS)), headers, admission.principal), listener

    def join(self, reply: Reply, listener: Listener) -> tuple[Reply, Listener | None]:
        """Let the listener hear from now on.

        Where no more may, return the problem instead. For the server's loop."""
        try:
            self.hub.join(listener)
        except StreamFull as full:
            problem = of_problem(_full(full.reached), listener.request_id)
            limited = {name: value for name, value in reply.headers.items() if name not in _HEADERS}
            return _with(problem, limited, listener.principal), None
        return reply, listener

    def response(self, listener: Listener, head: Response) -> StreamResponse:
        """Return what sends the events, with the head of a response."""
        return StreamResponse(self.hub, listener, dict(head.headers), self._finished)


def _topics(items: Sequence[tuple[str, str]], principal: Principal) -> tuple[Topic, ...]:
    asked: str | None = None
    for name, value in items:
        if name not in (TOPICS, ORGANIZATION):
            raise unknown_parameter(name, [TOPICS, ORGANIZATION])
        if name == TOPICS:
            if asked is not None:
                raise invalid(f"the parameter {TOPICS} is given twice", parameter=TOPICS)
            asked = value
    try:
        return topics_of(asked, trusted=principal.operator or principal.organizations is None)
    except TopicError as error:
        raise invalid(str(error), parameter=TOPICS) from None
    except ForbiddenTopicError as error:
        raise Problem(403, "forbidden", str(error)) from None


def _full(reached: Full) -> Problem:
    if reached is Full.KEY:
        text = "this key has as many streams open as it may: close one"
        return Problem(429, "rate_limited", text, headers={"Retry-After": "10"})
    text = "as many streams are open as this server serves: try again later"
    return Problem(503, "service_unavailable", text, headers={"Retry-After": "30"})


def _with(reply: Reply, headers: dict[str, str], principal: Principal) -> Reply:
    reply.headers = {**reply.headers, **headers}
    reply.key_id = principal.key_id
    return reply
