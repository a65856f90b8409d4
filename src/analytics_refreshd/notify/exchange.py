"""Sends one HTTP request within a total deadline. Only the answer's head is read. A redirect is returned, not followed.

A socket's timeout bounds each read, not their sum: a server that sends a byte a second would hold a thread for ever.
Here the whole exchange, name resolution included, ends at the deadline.
"""

import socket
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.parse import unquote

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Url, make_headers, parse_url

from analytics_refreshd.core.addresses import url_problem
from analytics_refreshd.notify.request import BadRequest, Request


class Unreachable(Exception):
    """No answer came; the text says why, without address or secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's status, and how long the server asks to wait."""

    status: int
    retry_after_seconds: float | None = None


class Resolver:
    """Resolve names with a deadline. getaddrinfo cannot be interrupted: callers share a look-up that hangs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    def addresses(self, host: str, port: int, seconds: float) -> list[tuple[str, int]]:
        """Return the addresses of `host`. Raises Unreachable."""
        with self._lock:
            lookup = self._lookups.get((host, port))
            if lookup is None:
                lookup = self._lookups[host, port] = _Lookup(host, port)
        if not lookup.done.wait(seconds):
            raise Unreachable("its name was not resolved in time")
        with self._lock:
            self._lookups.pop((host, port), None)
        if not lookup.found:
            raise Unreachable("its name cannot be resolved")
        return lookup.found


class _Lookup:
    def __init__(self, host: str, port: int) -> None:
        self.done = threading.Event()
        self.found: list[tuple[str, int]] = []
        threading.Thread(target=self._run, args=(host, port), name="resolve-receiver", daemon=True).start()

    def _run(self, host: str, port: int) -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.found = list(dict.fromkeys((str(answer[4][0]), port) for answer in answers))
        except (OSError, UnicodeError):
            pass
        finally:
            self.done.set()


class Exchanger:
    """Make exchanges for one receiver, one at a time."""

    def __init__(self) -> None:
        self._resolver = Resolver()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False
        self._context: ssl.SSLContext | None = None

    def run(self, request: Request, seconds: float) -> Answer:
        """Send `request` and return the answer's head within `seconds`. Raises Unreachable, BadRequest."""
        until = time.monotonic() + seconds
        url = address(request.url)
        host, tls = (url.hostname or "").strip("[]"), url.scheme == "https"
        port = url.port or (443 if tls else 80)
        self._over = False
        watchdog = threading.Timer(seconds, self.abort)
        watchdog.name, watchdog.daemon = "receiver-deadline", True
        watchdog.start()
        try:
            self._connect(host, port, tls=tls, until=until)
            return self._ask(request, url, host, port, tls=tls, until=until)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(f"its certificate is not accepted: {error.verify_message}") from error
        except (OSError, HTTPException, urllib3.exceptions.HTTPError, ValueError) as error:
            if self._over or isinstance(error, TimeoutError) or time.monotonic() >= until:
                raise Unreachable(f"no answer within {seconds:g} s") from error
            raise Unreachable(_reason(error)) from error
        finally:
            watchdog.cancel()
            with self._lock:
                opened, self._socket = self._socket, None
            if opened is not None:
                opened.close()
            watchdog.join(1.0)

    def abort(self) -> None:
        """Cut the exchange under way, from any thread."""
        with self._lock:
            self._over = True
            if self._socket is None:
                return
            try:
                # not the TLS socket's own shutdown, which is not made for two threads
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:
                pass

    def _connect(self, host: str, port: int, *, tls: bool, until: float) -> None:
        addresses = self._resolver.addresses(host, port, _left(until))
        problem: OSError = TimeoutError()
        for number, place in enumerate(addresses):
            try:
                opened = socket.create_connection(place, timeout=_left(until) / (len(addresses) - number))
            except OSError as error:
                problem = error
                continue
            self._hold(opened)
            if tls:
                if self._context is None:
                    self._context = ssl.create_default_context()
                opened.settimeout(_left(until))
                self._hold(self._context.wrap_socket(opened, server_hostname=host))
            return
        raise problem

    def _hold(self, opened: socket.socket) -> None:
        with self._lock:
            self._socket = opened
            if self._over:
                raise TimeoutError

    def _ask(self, request: Request, url: Url, host: str, port: int, *, tls: bool, until: float) -> Answer:
        left = _left(until)
        connection = HTTPSConnection(host, port, timeout=left) if tls else HTTPConnection(host, port, timeout=left)
        connection.sock = self._socket
        headers = {"User-Agent": "analytics-refreshd", **request.headers}
        if url.auth:
            headers.setdefault("Authorization", make_headers(basic_auth=unquote(url.auth))["authorization"])
        try:
            connection.request(
                "POST", url.request_uri, body=request.body, headers=headers, preload_content=False, decode_content=False
            )
            response = connection.getresponse()
            response.close()
        finally:
            connection.close()
        if self._over:
            raise TimeoutError
        return Answer(response.status, retry_after(response.headers.get("Retry-After"), datetime.now(UTC)))


def address(text: str) -> Url:
    """Check and parse an address. Raises BadRequest, which does not repeat it."""
    problem = url_problem(text)
    if problem:
        raise BadRequest(f"its URL {problem}")
    try:
        return parse_url(text)
    except urllib3.exceptions.LocationParseError as error:
        raise BadRequest("its URL cannot be read") from error


def retry_after(value: str | None, now: datetime) -> float | None:
    """Read Retry-After as seconds from now. None where it is absent or neither a number nor a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "it refused the connection"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return "the connection broke"
