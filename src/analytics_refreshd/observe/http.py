"""The HTTP port: metrics, probes, the page and its data. Reads memory only, offers no action, survives slow clients."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from prometheus_client import make_wsgi_app
from waitress import wasyncore
from waitress.server import create_server

from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.core.model import Role
from analytics_refreshd.core.ports import Health
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from analytics_refreshd.observe.page.render import PAGE_POLICY, render_page
from analytics_refreshd.observe.page.status_json import render_status

_logger = logging.getLogger(__name__)

_THREADS = 4
_CONNECTIONS = 400
_CROWDED = 300
_HEADER_BYTES = 8192
_CLOSE_SECONDS = 5.0
_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
_NOTHING_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """`[http]`: where to listen (port 0: any free one), and whether `/` and `/status.json` are served."""

    host: str = "127.0.0.1"
    port: int = 9720
    page: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    policy: str = _NOTHING_POLICY
    headers: tuple[tuple[str, str], ...] = ()


def _text(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode("utf-8", "replace"))


class HttpServer:
    """Serves on threads of its own from `start` to `close`; from here on `metrics` reads its gauges from `health`.

    At most 400 connections at a time: beyond 300 the oldest ones that have not sent a whole request are dropped, and
    any that is open for more than `request_seconds` without one, so that hundreds of slow clients neither cost
    threads nor stop a scrape. An idle kept-alive connection goes the same way; its client opens another.
    """

    def __init__(
        self,
        settings: HttpSettings,
        health: Health,
        metrics: PrometheusMetrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        request_seconds: float = 10.0,
    ) -> None:
        self._settings = settings
        self._request_seconds = request_seconds
        self._health = health
        self._monotonic = monotonic
        self._metrics_app = make_wsgi_app(metrics.registry)
        metrics.watch(health)
        self._stopping = threading.Event()
        self._ending = threading.Lock()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._server: Any = None
        self._paths: dict[str, Callable[[], Answer]] = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/leader": self._leader,
        }
        if settings.page:
            self._paths["/"] = self._page
            self._paths["/status.json"] = self._status

    def start(self) -> int:
        """Listen, and return the port. Raises RefreshdError where the address cannot be had."""
        listener = _listen(self._settings)
        self._server = create_server(
            self._application,
            sockets=[listener],
            threads=_THREADS,
            connection_limit=_CONNECTIONS,
            channel_timeout=max(1, int(self._request_seconds)),
            cleanup_interval=1,
            max_request_header_size=_HEADER_BYTES,
            max_request_body_size=_HEADER_BYTES,
            clear_untrusted_proxy_headers=True,
            expose_tracebacks=False,
            log_socket_errors=False,
            ident=None,
        )
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._thread.start()
        port: int = listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop serving, free the port and end the threads; harmless when not started or twice."""
        if self._thread is None:
            return
        with self._ending:
            self._stopping.set()
            if not self._ended:
                self._server.pull_trigger()
        self._thread.join(_CLOSE_SECONDS)
        self._thread = None

    def _serve(self) -> None:
        server = self._server
        next_look = 0.0
        try:
            while not self._stopping.is_set():
                wasyncore.loop(timeout=1.0, use_poll=True, map=server._map, count=1)
                if len(server.active_channels) > _CROWDED or time.monotonic() >= next_look:
                    next_look = time.monotonic() + 1.0
                    self._shed(server)
        finally:
            # the trigger's descriptor is closed below, and may be anybody's then
            with self._ending:
                self._ended = True
            server.task_dispatcher.shutdown(cancel_pending=True, timeout=_CLOSE_SECONDS / 2)
            wasyncore.close_all(server._map)

    def _shed(self, server: Any) -> None:
        """Drop connections that hold a place without having asked for anything."""
        idle = sorted(
            (channel for channel in list(server.active_channels.values()) if not channel.requests),
            key=lambda channel: float(channel.creation_time),
        )
        # waitress dates its connections with the wall clock
        too_old = time.time() - self._request_seconds
        excess = len(server.active_channels) - _CROWDED
        for position, channel in enumerate(idle):
            if position < excess or channel.creation_time < too_old:
                channel.will_close = True

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        try:
            answer = self._answer(method, path, environ)
        except Exception:
            # No detail to whoever asks without a password: it is in the log.
            _logger.exception("cannot answer %s %s", method, path)
            answer = _text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
        start_response(
            f"{answer.status.value} {answer.status.phrase}",
            [
                ("Content-Type", answer.content_type),
                ("Content-Length", str(len(answer.body))),
                ("Content-Security-Policy", answer.policy),
                *_HEADERS,
                *answer.headers,
            ],
        )
        return [] if method == "HEAD" else [answer.body]

    def _answer(self, method: str, path: str, environ: Mapping[str, Any]) -> Answer:
        if path != "/metrics" and path not in self._paths:
            return _text(HTTPStatus.NOT_FOUND, "not found")
        if method not in ("GET", "HEAD"):
            answer = _text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
            return Answer(answer.status, answer.body, headers=(("Allow", "GET, HEAD"),))
        return self._metrics(environ) if path == "/metrics" else self._paths[path]()

    def _metrics(self, environ: Mapping[str, Any]) -> Answer:
        headers: dict[str, str] = {}

        def keep(_status: str, given: list[tuple[str, str]]) -> None:
            headers.update(given)

        # Without a query: the library would answer name[] with a registry built per request.
        scrape = {**environ, "REQUEST_METHOD": "GET", "QUERY_STRING": ""}
        body = b"".join(self._metrics_app(scrape, keep))
        content_type = headers.pop("Content-Type")
        return Answer(HTTPStatus.OK, body, content_type, headers=tuple(headers.items()))

    def _livez(self) -> Answer:
        live, reason = self._health.live()
        return _text(HTTPStatus.OK if live else HTTPStatus.SERVICE_UNAVAILABLE, "ok" if live else reason)

    def _readyz(self) -> Answer:
        ready, reason = self._health.ready()
        return _text(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, reason or ("ok" if ready else "no"))

    def _leader(self) -> Answer:
        role = self._health.state().role
        return _text(HTTPStatus.OK if role is Role.LEADER else HTTPStatus.SERVICE_UNAVAILABLE, role.value)

    def _page(self) -> Answer:
        body = render_page(self._health.state(), self._monotonic())
        return Answer(HTTPStatus.OK, body, "text/html; charset=utf-8", PAGE_POLICY)

    def _status(self) -> Answer:
        body = render_status(self._health.state(), self._monotonic())
        return Answer(HTTPStatus.OK, body, "application/json")


def _listen(settings: HttpSettings) -> socket.socket:
    where = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise RefreshdError(f"cannot listen on {where}: the host is not an address of this machine") from error
    family, kind, protocol, _name, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise RefreshdError(f"cannot listen on {where}: {reason}; choose another [http] port or host") from error
    return listener
