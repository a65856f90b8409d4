"""One request within its time, and nothing of its address in any text."""

import shutil
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime

import pytest

from analytics_refreshd.notify.exchange import Exchanger, Resolver, Unreachable, address, retry_after
from analytics_refreshd.notify.request import BadRequest, Request
from tests.support.postgres import free_port
from tests.support.receivers import Answer, raw_server, receiver

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 12 ", 12.0),
        ("-3", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 400, 999_999_999.0),
        ("Mon, 04 May 2026 12:01:00 GMT", 60.0),
        ("Mon, 04 May 2026 12:01:00 -0000", 60.0),
        ("Mon, 04 May 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """A number of seconds or a date, never negative; anything else asks for nothing."""
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "url", ["ftp://h/CANARY", "h/CANARY", "http://", "http://[CANARY/", "http://h:99999999/CANARY"]
)
def test_an_address_that_cannot_be_used_is_refused_without_repeating_it(url: str) -> None:
    """The text says what is wrong and shows nothing of the address."""
    with pytest.raises(BadRequest) as caught:
        address(url)
    assert "CANARY" not in str(caught.value)


def test_the_answers_head_is_enough() -> None:
    """Status and Retry-After come back; the request arrived whole, with the address's user as basic authentication."""
    with receiver(Answer(429, {"Retry-After": "3"})) as server:
        url = server.url.replace("http://", "http://us:pw@") + "/a/b?c=d#e"
        answer = Exchanger().run(Request(url, b"body", {"X-One": "1"}), 5.0)
        assert (answer.status, answer.retry_after_seconds) == (429, 3.0)
        (got,) = server.got
        assert (got.path, got.body, got.headers["X-One"]) == ("/a/b?c=d", b"body", "1")
        assert got.headers["Authorization"] == "Basic dXM6cHc="
        assert got.headers["Host"] == f"127.0.0.1:{server.port}"


def test_a_refused_connection_says_so() -> None:
    """Nobody listens there."""
    with pytest.raises(Unreachable, match="refused the connection"):
        Exchanger().run(Request(f"http://127.0.0.1:{free_port()}/", b""), 5.0)


def test_an_unknown_name_says_so() -> None:
    """A name that does not resolve is unreachable."""
    with pytest.raises(Unreachable, match="cannot be resolved"):
        Exchanger().run(Request("http://no-such-host.invalid/", b""), 5.0)


def test_a_resolver_that_hangs_costs_one_thread_and_no_more_than_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each try ends in time, and all wait for the same look-up."""
    released, calls = threading.Event(), []

    def slow(*words: object, **more: object) -> list[object]:
        calls.append(words)
        released.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    resolver = Resolver()
    for _ in range(3):
        with pytest.raises(Unreachable, match="not resolved in time"):
            resolver.addresses("slow.example.com", 80, 0.05)
    assert len(calls) == 1
    released.set()
    with pytest.raises(Unreachable, match="cannot be resolved"):
        resolver.addresses("slow.example.com", 80, 10.0)


def test_a_dead_address_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several addresses of a name the first that answers is taken."""
    with receiver() as server:
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", server.port))
        alive = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: [dead, alive, alive])
        assert Exchanger().run(Request(f"http://two.example.com:{server.port}/", b""), 5.0).status == 200


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000])
def test_an_answer_that_is_none_is_a_broken_connection(said: bytes) -> None:
    """A server that hangs up or talks nonsense is unreachable, whatever it said."""

    def talk(accepted: socket.socket, over: threading.Event) -> None:
        accepted.recv(65536)
        accepted.sendall(said)

    with raw_server(talk) as (url, _), pytest.raises(Unreachable, match="the connection broke"):
        Exchanger().run(Request(url, b""), 5.0)


def test_a_server_without_tls_does_not_get_the_message_in_clear() -> None:
    """https against a server that does not speak it fails before anything is sent."""
    seen: list[bytes] = []

    def talk(accepted: socket.socket, over: threading.Event) -> None:
        seen.append(accepted.recv(65536))
        accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with raw_server(talk) as (url, _), pytest.raises(Unreachable, match="TLS failed"):
        Exchanger().run(Request(url.replace("http:", "https:"), b"CANARY"), 5.0)
    assert b"CANARY" not in b"".join(seen)


def test_an_unknown_certificate_is_not_accepted(tls_server: str) -> None:
    """A certificate that no authority signed ends the try, and the reason is named."""
    with pytest.raises(Unreachable, match="certificate is not accepted"):
        Exchanger().run(Request(tls_server, b"CANARY"), 5.0)


def test_a_known_certificate_is(tls_server: str, monkeypatch: pytest.MonkeyPatch, certificate: str) -> None:
    """With its authority among the trusted ones the message arrives."""
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    assert Exchanger().run(Request(tls_server, b"x"), 5.0).status == 204


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "key"), "-out", str(folder / "certificate")),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both"
    both.write_text((folder / "certificate").read_text() + (folder / "key").read_text())
    return str(both)


@pytest.fixture
def tls_server(certificate: str) -> object:
    """The URL of a server that answers 204 over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(accepted: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(accepted, server_side=True) as secure:
            seen = b""
            while not seen.endswith(b"\r\n\r\nx"):
                seen += secure.recv(65536)
            secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with raw_server(talk) as (url, _):
        yield url.replace("http:", "https:")
