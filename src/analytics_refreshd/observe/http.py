"""The HTTP port: metrics, probes, the page and its data. Reads memory only, offers no action, survives its clients."""

import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

from prometheus_client import CollectorRegistry, make_wsgi_app

from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.core.model import Role
from analytics_refreshd.core.ports import Health
from analytics_refreshd.observe.http_hosts import host_allowed
from analytics_refreshd.observe.http_loop import Asked, HttpLimits, HttpLoop
from analytics_refreshd.observe.http_request import HEAD_BYTES
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from analytics_refreshd.observe.page.render import PAGE_POLICY, render_page
from analytics_refreshd.observe.status.document import status_json

_logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0
_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
_OPENMETRICS = "application/openmetrics-text"
_NOTHING_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """`[http]`: where to listen (port 0: any free one), and whether `/` and `/status.json` are served.

    `names` are those that requests may use besides addresses and localhost, as `host_allowed` takes them. `keys` are
    the configuration's keys of host and port, for an error.
    """

    host: str = "127.0.0.1"
    port: int = 9720
    page: bool = True
    names: tuple[str, ...] = ()
    keys: str = "[http] port or host"


class Probed(Protocol):
    """Answers the probes from memory."""

    def live(self) -> tuple[bool, str]:
        """Tell whether the process can work, and if not why. Independent of the database."""

    def ready(self) -> tuple[bool, str]:
        """Tell whether it can serve now, and if not why."""


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


@dataclass(frozen=True, slots=True)
class _Question:
    """What an answer depends on: a served path or a refusal; for metrics, also the format agreed on."""

    subject: str | HTTPStatus
    openmetrics: bool = False
    gzip: bool = False


_REFUSALS: Mapping[HTTPStatus, Answer] = {
    HTTPStatus.BAD_REQUEST: _text(HTTPStatus.BAD_REQUEST, "not an HTTP/1 request"),
    HTTPStatus.NOT_FOUND: _text(HTTPStatus.NOT_FOUND, "not found"),
    HTTPStatus.METHOD_NOT_ALLOWED: replace(
        _text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD"), headers=(("Allow", "GET, HEAD"),)
    ),
    HTTPStatus.MISDIRECTED_REQUEST: _text(
        HTTPStatus.MISDIRECTED_REQUEST, "this name is not known here: add it to [http] hosts, or ask by address"
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: _text(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {HEAD_BYTES} bytes of request line and headers"
    ),
}


class ManagementServer:
    """Serves metrics and probes on a thread of its own.

    It does from `start` to `close`.

    A connection is answered once and then closed. It has `request_seconds` for its request and as many for taking
    the answer. At most 400 are open, and at most 16 MiB of answers wait: beyond that the oldest connections are reset,
    so that neither slow clients nor those that never read cost threads, memory or a scrape.
    """

    def __init__(
        self,
        settings: HttpSettings,
        health: Probed,
        registry: CollectorRegistry,
        *,
        request_seconds: float = 10.0,
    ) -> None:
        self._settings = settings
        self._names = settings.names
        self._limits = HttpLimits(seconds=request_seconds)
        self._health = health
        self._metrics_app = make_wsgi_app(registry)
        self._loop: HttpLoop | None = None
        self._thread: threading.Thread | None = None
        self._paths: dict[str, Callable[[], Answer]] = {
            "/livez": self._livez,
            "/readyz": self._readyz,
        }

    def allow(self, names: tuple[str, ...]) -> None:
        """Replace the names that requests may use; from any thread."""
        self._names = names

    def start(self) -> int:
        """Listen, and return the port. Raises RefreshdError where the address cannot be had."""
        listener = listen(self._settings)
        port: int = listener.getsockname()[1]
        self._loop = HttpLoop(listener, self._respond, self._limits)
        self._thread = threading.Thread(target=self._loop.run, name="http", daemon=True)
        self._thread.start()
        return port

    def close(self) -> None:
        """Stop serving, free the port and end the thread. Harmless twice."""
        if self._loop is not None and self._thread is not None:
            self._loop.stop()
            self._thread.join(_CLOSE_SECONDS)

    def _respond(self, asked: Sequence[Asked]) -> list[bytes]:
        """Answer what was asked at one moment. Whoever asks the same gets the same bytes, made once."""
        made: dict[_Question, tuple[bytes, bytes]] = {}
        responses = []
        for request in asked:
            question = self._question(request)
            if question not in made:
                answer = self._answer(question)
                head = _head(answer)
                made[question] = head, head + answer.body
            head, whole = made[question]
            is_head = not isinstance(request, HTTPStatus) and request.method == "HEAD"
            responses.append(head if is_head else whole)
        return responses

    def _question(self, request: Asked) -> _Question:
        if isinstance(request, HTTPStatus):
            return _Question(request)
        if not host_allowed(request.fields.get("host"), self._names):
            return _Question(HTTPStatus.MISDIRECTED_REQUEST)
        if request.path != "/metrics" and request.path not in self._paths:
            return _Question(HTTPStatus.NOT_FOUND)
        if request.method not in ("GET", "HEAD"):
            return _Question(HTTPStatus.METHOD_NOT_ALLOWED)
        if request.path == "/metrics":
            accepted, encodings = (_listed(request.fields.get(name, "")) for name in ("accept", "accept-encoding"))
            known = [kind for kind in accepted if kind in (_OPENMETRICS, "text/plain")]
            return _Question(request.path, known[:1] == [_OPENMETRICS], "gzip" in encodings)
        return _Question(request.path)

    def _answer(self, question: _Question) -> Answer:
        subject = question.subject
        if isinstance(subject, HTTPStatus):
            return _REFUSALS[subject]
        try:
            return self._metrics(question) if subject == "/metrics" else self._paths[subject]()
        except Exception:
            # No detail to whoever asks without a password: it is in the log.
            _logger.exception("cannot answer %s", subject)
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")

    def _metrics(self, question: _Question) -> Answer:
        headers: dict[str, str] = {}

        def keep(_status: str, given: list[tuple[str, str]]) -> None:
            headers.update(given)

        # Without a query: the library would answer name[] with a registry built per request.
        scrape = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/metrics",
            "HTTP_ACCEPT": f"{_OPENMETRICS};version=1.0.0" if question.openmetrics else "",
            "HTTP_ACCEPT_ENCODING": "gzip" if question.gzip else "",
        }
        body = b"".join(self._metrics_app(scrape, keep))
        content_type = headers.pop("Content-Type")
        return Answer(HTTPStatus.OK, body, content_type, headers=tuple(headers.items()))

    def _livez(self) -> Answer:
        live, reason = self._health.live()
        return _text(HTTPStatus.OK if live else HTTPStatus.SERVICE_UNAVAILABLE, "ok" if live else reason)

    def _readyz(self) -> Answer:
        ready, reason = self._health.ready()
        return _text(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, reason or ("ok" if ready else "no"))


class HttpServer(ManagementServer):
    """Serves the daemon's page and its data too. From here on `metrics` reads its gauges from `health`."""

    def __init__(
        self,
        settings: HttpSettings,
        health: Health,
        metrics: PrometheusMetrics,
        *,
        request_seconds: float = 10.0,
    ) -> None:
        super().__init__(settings, health, metrics.registry, request_seconds=request_seconds)
        self._daemon = health
        metrics.watch(health)
        self._paths["/leader"] = self._leader
        if settings.page:
            self._paths["/"] = self._page
            self._paths["/status.json"] = self._status

    def _leader(self) -> Answer:
        role = self._daemon.snapshot().role
        return _text(HTTPStatus.OK if role is Role.LEADER else HTTPStatus.SERVICE_UNAVAILABLE, str(role))

    def _page(self) -> Answer:
        body = render_page(self._daemon.snapshot())
        return Answer(HTTPStatus.OK, body, "text/html; charset=utf-8", PAGE_POLICY)

    def _status(self) -> Answer:
        body = status_json(self._daemon.snapshot())
        return Answer(HTTPStatus.OK, f"{body}\n".encode(), "application/json")


def _listed(field: str) -> list[str]:
    """The names in a header field's list, without their parameters; a version before 1 counts as not listed."""
    entries = [[part.strip().lower() for part in entry.split(";")] for entry in field.split(",")]
    return [name for name, *parameters in entries if not any(each.startswith("version=0.0.1") for each in parameters)]


def _head(answer: Answer) -> bytes:
    fields = (
        ("Date", formatdate(usegmt=True)),
        ("Connection", "close"),
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Content-Security-Policy", answer.policy),
        *_HEADERS,
        *answer.headers,
    )
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def listen(settings: HttpSettings) -> socket.socket:
    """Return a socket that listens there. Raises RefreshdError where the address cannot be had."""
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
        raise RefreshdError(f"cannot listen on {where}: {reason}; choose another {settings.keys}") from error
    return listener
