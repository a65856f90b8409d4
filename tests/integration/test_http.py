"""The HTTP port, over real sockets."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.core.model import VIEWS, Role
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.observe.http import HttpServer, HttpSettings
from analytics_refreshd.observe.http_request import Request
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from tests.support.fakes import FakeHealth
from tests.support.states import healthy
from tests.support.waiting import eventually


class Running:
    """A server on a free port, and what stands behind it."""

    def __init__(self, *, page: bool = True, request_seconds: float = 10.0) -> None:
        self.health = FakeHealth(healthy())
        metrics = PrometheusMetrics("orders", "0.1.0", VIEWS)
        settings = HttpSettings(port=0, page=page)
        self.server = HttpServer(settings, self.health, metrics, request_seconds=request_seconds)
        self.port = self.server.start()

    def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response, response.read().decode()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    yield made
    made.server.close()


def test_each_path_answers_for_itself(running: Running) -> None:
    """Metrics, probes, leadership, page and data, each with its type."""
    for path, content_type, part in (
        ("/metrics", "text/plain", "analytics_view_age_minutes{"),
        ("/livez", "text/plain", "ok\n"),
        ("/readyz", "text/plain", "ready\n"),
        ("/leader", "text/plain", "leader\n"),
        ("/", "text/html", "<!doctype html>"),
        ("/status.json", "application/json", '"database":"orders"'),
    ):
        response, text = running.ask(path)
        assert response.status == 200, path
        assert str(response.getheader("Content-Type")).startswith(content_type)
        assert part in text


def test_probes_say_why_not(running: Running) -> None:
    """503 carries the reason; liveness, readiness and leadership are three questions."""
    running.health.live_answer = (False, "the scheduler has given no sign of life for 40 s")
    running.health.ready_answer = (False, "the database does not answer")
    running.health.current = healthy(role=Role.STANDBY)
    for path, expected in (
        ("/livez", "the scheduler has given no sign of life for 40 s\n"),
        ("/readyz", "the database does not answer\n"),
        ("/leader", "standby\n"),
    ):
        response, text = running.ask(path)
        assert (response.status, text) == (503, expected)


@pytest.mark.fault
def test_G07_probes_while_the_database_is_down(running: Running) -> None:
    """Liveness does not depend on the database, readiness does; both are answered from memory."""
    running.health.current = healthy(database_up=False)
    running.health.ready_answer = (False, "the database does not answer")
    assert running.ask("/livez")[0].status == 200
    assert running.ask("/readyz")[0].status == 503
    assert running.ask("/metrics")[0].status == 200


@pytest.mark.fault
def test_G08_probe_while_a_run_hangs(running: Running) -> None:
    """A liveness that ended is told with its reason, for the supervisor to restart the process."""
    running.health.live_answer = (False, "the run passed its deadline by 31 s")
    response, text = running.ask("/livez")
    assert (response.status, text) == (503, "the run passed its deadline by 31 s\n")


@pytest.mark.fault
def test_G09_unknown_paths_and_methods(running: Running) -> None:
    """Nothing but the six paths is served, and nothing can be asked to act."""
    for path in ("/anything", "/metrics/", "/metrics/x", "/favicon.ico", "/LIVEZ", "/status.json/.."):
        assert running.ask(path)[0].status == 404, path
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        response, text = running.ask("/metrics", method)
        assert response.status == 405, method
        assert response.getheader("Allow") == "GET, HEAD"
        assert "analytics_" not in text


def test_head_has_the_headers_and_no_body(running: Running) -> None:
    """HEAD tells the length that GET would have."""
    with running.connect() as client:
        client.sendall(b"HEAD /livez HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert answer.endswith(b"\r\n\r\n")
    for path in ("/livez", "/metrics", "/", "/status.json"):
        response, text = running.ask(path, "HEAD")
        assert response.status == 200
        assert int(str(response.getheader("Content-Length"))) > 0
        assert text == ""


def test_security_headers_are_on_every_answer(running: Running) -> None:
    """No caching, sniffing, framing or referrer; a policy that allows nothing but the page's own style and script."""
    for path in ("/metrics", "/livez", "/", "/status.json", "/nowhere"):
        response, _ = running.ask(path)
        assert response.getheader("Cache-Control") == "no-store"
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        assert response.getheader("X-Frame-Options") == "DENY"
        assert response.getheader("Referrer-Policy") == "no-referrer"
        assert response.getheader("Server") is None
        policy = str(response.getheader("Content-Security-Policy"))
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


def test_openmetrics_and_gzip_are_negotiated(running: Running) -> None:
    """Prometheus gets the format that it asks for."""
    accept = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    connection.request("GET", "/metrics", headers=accept)
    response = connection.getresponse()
    assert str(response.getheader("Content-Type")).startswith("application/openmetrics-text")
    assert response.getheader("Content-Encoding") == "gzip"
    assert response.read()[:2] == b"\x1f\x8b"
    connection.close()


def test_the_page_can_be_turned_off() -> None:
    """With page = false neither the page nor its data is served; metrics and probes are."""
    made = Running(page=False)
    try:
        assert [made.ask(path)[0].status for path in ("/", "/status.json")] == [404, 404]
        assert [made.ask(path)[0].status for path in ("/metrics", "/livez", "/readyz")] == [200, 200, 200]
    finally:
        made.server.close()


@pytest.mark.fault
def test_G01_port_in_use(running: Running) -> None:
    """A taken port is one clear sentence that names it."""
    second = HttpServer(HttpSettings(port=running.port), running.health, PrometheusMetrics("d", "1", ()))
    with pytest.raises(RefreshdError, match=rf"cannot listen on 127\.0\.0\.1:{running.port}: .*in use"):
        second.start()
    second.close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "a..b"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    """A host that this machine does not have is one clear sentence."""
    server = HttpServer(HttpSettings(host=host, port=0), FakeHealth(healthy()), PrometheusMetrics("d", "1", ()))
    with pytest.raises(RefreshdError, match="cannot listen on"):
        server.start()


@pytest.mark.fault
def test_G02_slow_clients_do_not_stop_a_scrape() -> None:
    """200 clients that send half a request, and more than can be held at a time, cost no thread and stop no scrape."""
    running = Running(request_seconds=3600)
    threads = threading.active_count()
    with ExitStack() as open_connections:
        open_connections.callback(running.server.close)
        for number in range(450):
            client = open_connections.enter_context(running.connect())
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"y" * (number % 50))
            if number in (199, 449):
                response, text = running.ask("/metrics")
                assert response.status == 200
                assert "analytics_leader" in text
        assert threading.active_count() <= threads


@pytest.mark.fault
def test_G02_slow_clients_are_let_go() -> None:
    """A client that drips its request is dropped after a while, however steadily it drips."""
    made = Running(request_seconds=0.5)
    try:
        with made.connect() as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n")

            def gone() -> bool:
                try:
                    client.sendall(b"X")
                except ConnectionError:
                    return True
                return False

            assert eventually(gone, within=10, every=0.1)
    finally:
        made.server.close()


@pytest.mark.fault
def test_G02_a_connection_is_answered_once(running: Running) -> None:
    """Pipelined requests get one whole answer that says so, and the end."""
    with running.connect() as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nok\n")


@pytest.mark.fault
@pytest.mark.parametrize("path", ["/", "/status.json"])
@pytest.mark.parametrize("half_closed", [False, True])
def test_G02_an_unread_answer_is_forgotten(path: str, half_closed: bool) -> None:
    """The smaller answer waits in the kernel and the larger in the process; neither waits for ever."""
    made = Running(request_seconds=0.5)
    try:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.connect(("127.0.0.1", made.port))
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            if half_closed:
                client.shutdown(socket.SHUT_WR)
            assert eventually(lambda: client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    finally:
        made.server.close()


def test_a_client_that_has_half_closed_gets_its_answer(running: Running) -> None:
    """The end of the request is not the end of the interest in the answer."""
    with running.connect() as client:
        client.sendall(b"GET /status.json HTTP/1.0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"
    assert json.loads(body)["database"] == "orders"


def test_what_many_ask_at_once_is_made_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that wait together share one answer, whatever else their headers say."""
    asked = 0

    def counted() -> Snapshot:
        nonlocal asked
        asked += 1
        return running.health.current

    monkeypatch.setattr(running.health, "snapshot", counted)
    requests = [
        Request(method, path, {"accept": f"application/openmetrics-text;version=1.0.{number}"})
        for number in range(100)
        for method in ("GET", "HEAD")
        for path in ("/metrics", "/status.json")
    ]
    answers = running.server._respond(requests)
    assert len({id(answer) for answer in answers}) == 4
    assert asked == 2


@pytest.mark.fault
def test_G03_restart_on_one_port(running: Running) -> None:
    """After close the port is free at once and every thread has ended."""
    for _ in range(3):
        running.server.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "http"]
        again = HttpServer(HttpSettings(port=running.port), running.health, PrometheusMetrics("d", "1", ()))
        assert again.start() == running.port
        running.server = again
    running.server.close()
    running.server.close()


def test_closing_ends_open_connections(running: Running) -> None:
    """Whoever is connected is let go at once, having asked or not."""
    with running.connect() as silent, running.connect() as asking:
        asking.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert asking.recv(100).startswith(b"HTTP/1.1 200 OK")
        running.server.close()
        with suppress(ConnectionResetError):
            assert silent.recv(100) == b""
        assert not [thread for thread in threading.enumerate() if thread.name == "http"]


@pytest.mark.fault
def test_G04_an_exception_behind_a_path_is_a_500_without_detail(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics and the other paths stay up, and no exception's text leaves the process."""

    def broken() -> Snapshot:
        raise RuntimeError("CANARY-7f3a")

    monkeypatch.setattr(running.health, "snapshot", broken)
    response, text = running.ask("/status.json")
    assert (response.status, text) == (500, "internal error\n")
    response, text = running.ask("/metrics")
    assert response.status == 200
    assert "analytics_runs_total" in text


@pytest.mark.fault
def test_H15_http_exposure() -> None:
    """Unless told otherwise only this machine is served, by the server and by the configuration."""
    assert HttpSettings().host == "127.0.0.1"
    assert Config().http.host == "127.0.0.1"


@pytest.mark.fault
def test_H16_large_headers(running: Running) -> None:
    """A megabyte of header is refused without being kept."""
    with running.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n")
        assert b" 431 " in client.recv(100)


@pytest.mark.fault
def test_H16_path_traversal(running: Running) -> None:
    """No path reaches a file."""
    for path in (
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/metrics/../../etc/passwd",
    ):
        with running.connect() as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = client.recv(65536)
            assert b" 404 " in answer.splitlines()[0]
            assert b"root:" not in answer


@pytest.mark.fault
def test_H16_host_header_and_query_change_nothing(running: Running) -> None:
    """Names of others are echoed nowhere, ten thousand name[] parameters filter nothing."""
    response, text = running.ask("/?x=<script>", headers={"X-Forwarded-Host": "evil.example"})
    assert response.status == 200
    assert "evil.example" not in text
    assert "?x=" not in text
    few, filtered = running.ask("/metrics?" + "&".join(f"name[]=m{number}" for number in range(500)))
    assert few.status == 200
    assert "analytics_leader" in filtered
    long, _ = running.ask("/metrics?" + "&".join(f"name[]=m{number}" for number in range(10_000)))
    assert long.status in (400, 414, 431)


@pytest.mark.fault
@pytest.mark.parametrize("path", ["/", "/status.json", "/metrics", "/livez", "/no-such-path"])
def test_H16_a_web_page_cannot_read_it_by_a_name_of_its_own(running: Running, path: str) -> None:
    """After DNS rebinding a browser asks us by the page's name: 421, nothing about us, the name not repeated."""
    for host in ("evil.example", f"evil.example:{running.port}", "127.0.0.1.evil.example"):
        response, text = running.ask(path, headers={"Host": host})
        assert (response.status, response.reason) == (421, "Misdirected Request")
        assert text == "this name is not known here: add it to [http] hosts, or ask by address\n"


def test_names_in_force_can_be_replaced_while_serving(running: Running) -> None:
    """A reload takes new names over; addresses and localhost need none."""
    running.server.allow(("refresh-a.example.net",))
    assert running.ask("/livez", headers={"Host": "refresh-a.example.net:9720"})[0].status == 200
    running.server.allow(())
    assert running.ask("/livez", headers={"Host": "refresh-a.example.net:9720"})[0].status == 421
    for host in (f"127.0.0.1:{running.port}", "localhost", "[::1]", "10.2.3.4:9720"):
        assert running.ask("/livez", headers={"Host": host})[0].status == 200


@pytest.mark.fault
def test_H16_a_body_is_not_read(running: Running) -> None:
    """A body that nobody asked for is refused or ignored, whatever its announced size."""
    with running.connect() as client:
        client.sendall(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert client.recv(100).split(b" ")[1] in (b"405", b"413")
    assert running.ask("/livez")[0].status == 200


def test_garbage_is_a_400_and_the_next_request_is_served(running: Running) -> None:
    """What is not HTTP is refused."""
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ):
        with running.connect() as client:
            client.sendall(garbage)
            assert client.recv(100).split(b" ")[1] in (b"400", b"404", b"405", b"501")
    assert running.ask("/livez")[0].status == 200


def test_status_json_is_valid_and_needs_no_key_to_be_guessed(running: Running) -> None:
    """The data parses and holds every view."""
    document = json.loads(running.ask("/status.json")[1])
    assert [view["view"] for view in document["views"]] == list(VIEWS)
