"""Reads the head of an HTTP request, strictly: a proxy must not find another request in the same bytes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

HEAD_BYTES = 8192
"""Request line and header fields together; more is refused with 431."""

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rf"({_NAME}) ([\x21-\x7e]+) HTTP/1\.([01])")
_FIELD = re.compile(rf"({_NAME}):([\t\x20-\x7e\x80-\xff]*)")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: `path` without its query and still percent-encoded, `fields` by lower-case name."""

    method: str
    path: str
    fields: Mapping[str, str]


def read_request(received: bytes) -> Request | HTTPStatus | None:
    """Read a request from the bytes received so far.

    Returns None while its head is incomplete, and the status to refuse it with where it is malformed or too long.
    Whatever follows the head is ignored: nothing here takes a body, and a connection serves one request.
    """
    end = received.find(b"\r\n\r\n", 0, HEAD_BYTES)
    if end < 0:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if len(received) >= HEAD_BYTES else None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    asked = _REQUEST_LINE.fullmatch(first)
    if asked is None:
        return HTTPStatus.BAD_REQUEST
    fields: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        name = field[1].lower() if field else ""
        if field is None or (name == "host" and name in fields):
            return HTTPStatus.BAD_REQUEST
        value = field[2].strip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    if asked[3] == "1" and "host" not in fields:
        return HTTPStatus.BAD_REQUEST
    path = _ABSOLUTE.sub("", asked[2], count=1) if not asked[2].startswith("/") else asked[2]
    return Request(asked[1], path.partition("?")[0] or "/", fields)
