"""Reading a request's head: what is understood, and what is refused."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.observe.http_request import HEAD_BYTES, Request, read_request

SCRAPE = b"GET /metrics?name[]=x HTTP/1.1\r\nHost: a:9720\r\nAccept: text/plain\r\naccept:*/*;q=0.1\r\nX-Empty:\r\n\r\n"


def test_a_request_is_read() -> None:
    """The query is no part of the path; fields that come twice are one list."""
    fields = {"host": "a:9720", "accept": "text/plain, */*;q=0.1", "x-empty": ""}
    assert read_request(SCRAPE) == Request("GET", "/metrics", fields)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/?", "/"),
        ("http://host:9720/livez?x", "/livez"),
        ("HTTPS://host", "/"),
        ("http://host?x", "/"),
        ("//host/livez", "//host/livez"),
        ("/%6divez", "/%6divez"),
        ("*", "*"),
    ],
)
def test_targets(target: str, path: str) -> None:
    """A proxy's absolute form means the same as the path alone; nothing is decoded."""
    request = read_request(f"GET {target} HTTP/1.0\r\n\r\n".encode())
    assert isinstance(request, Request)
    assert request.path == path


def test_an_unfinished_head_is_waited_for() -> None:
    """Wherever the bytes are cut, nothing is decided before the empty line; what follows it changes nothing."""
    for end in range(len(SCRAPE)):
        assert read_request(SCRAPE[:end]) is None
    assert read_request(SCRAPE + SCRAPE) == read_request(SCRAPE)


def test_a_long_head_is_refused() -> None:
    """8192 bytes are read and no more, whether or not an end follows."""
    frame = len(b"GET / HTTP/1.0\r\nX: \r\n\r\n")
    fits = b"GET / HTTP/1.0\r\nX: " + b"y" * (HEAD_BYTES - frame) + b"\r\n\r\n"
    assert isinstance(read_request(fits), Request)
    for long in (fits.replace(b"X: ", b"X: y"), b"y" * HEAD_BYTES, b"GET / HTTP/1.0\r\n" * HEAD_BYTES):
        assert read_request(long) is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET  / HTTP/1.0",
        b"GET / HTTP/1.0 ",
        b"GET / x HTTP/1.0",
        b"GET /\x00 HTTP/1.0",
        b"GET /\xff HTTP/1.0",
        b"G(T / HTTP/1.0",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a",
        b"GET / HTTP/1.0\r\nHost: a\r\nhost: b",
        b"GET / HTTP/1.0\r\nX : y",
        b"GET / HTTP/1.0\r\nX: y\r\n folded",
        b"GET / HTTP/1.0\r\nX: y\nZ: smuggled",
        b"GET / HTTP/1.0\r\nX: y\rZ: smuggled",
        b"GET / HTTP/1.0\r\nX: \x00",
        b"GET / HTTP/1.0\r\nno colon",
        b"GET / HTTP/1.0\r\n: no name",
    ],
)
def test_what_two_readers_could_read_differently_is_refused(head: bytes) -> None:
    """Neither folded lines nor bare line ends, no space before a colon, one Host."""
    assert read_request(head + b"\r\n\r\n") is HTTPStatus.BAD_REQUEST


@given(st.binary(max_size=200), st.sampled_from([b"", b"GET / HTTP/1.0\r\n", SCRAPE[:-2]]))
def test_any_bytes_are_answered_or_waited_for(noise: bytes, before: bytes) -> None:
    """Nothing raises; what is read holds no control character that could end a line elsewhere."""
    request = read_request(before + noise + b"\r\n\r\n")
    assert request is not None
    if isinstance(request, Request):
        text = "".join((request.method, request.path, *request.fields, *request.fields.values()))
        assert not set(text) & set("\r\n\0")
