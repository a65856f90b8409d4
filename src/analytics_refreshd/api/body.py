"""Reads a request's body, and refuses pages of other sites."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import anyio
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from analytics_refreshd.api.access.requests import values
from analytics_refreshd.api.problems import Problem, unknown_parameter

MOST_BYTES = 32 * 1024
"""A text as long as it may be, with every character escaped, is a fifth of it."""
_SECONDS = 10.0
_FROM_HERE = ("same-origin", "none")


async def read_body(http: HttpRequest) -> bytes:
    """Read a small body in a short time. Raises Problem."""
    content = bytearray()
    try:
        with anyio.fail_after(_SECONDS):
            async for piece in http.stream():
                content += piece
                if len(content) > MOST_BYTES:
                    raise Problem(413, "bad_request", f"the body is over {MOST_BYTES:,} bytes")
    except TimeoutError:
        raise Problem(408, "bad_request", f"the body did not come within {_SECONDS:g} s") from None
    except ClientDisconnect:
        raise Problem(400, "bad_request", "the body broke off") from None
    return bytes(content)


def refuse_other_site(headers: Mapping[str, str]) -> None:
    """Refuse what a page of another site could make a browser send.

    Raises Problem: 403. There are no cookies, so that such a page would lack the key, too.
    """
    sites, origins, hosts = (values(headers, name) for name in ("sec-fetch-site", "origin", "host"))
    # a browser sets the first one by itself; one that is older sends the second alone
    if sites:
        foreign = any(site not in _FROM_HERE for site in sites)
    else:
        foreign = any(_place(origin) not in [host.lower() for host in hosts] for origin in origins)
    if foreign:
        raise Problem(403, "forbidden", "a page of another site may not ask for this")


def refuse_other_types(headers: Mapping[str, str]) -> None:
    """Refuse a body that is not announced as JSON.

    A form cannot do that. Raises Problem: 415.
    """
    kinds = [kind.partition(";")[0].strip().lower() for kind in values(headers, "content-type")]
    if kinds != ["application/json"]:
        raise Problem(415, "bad_request", "send the header Content-Type: application/json")


def members_of(body: bytes, known: Sequence[str], example: str) -> dict[str, object]:
    """Read the members of a JSON object. Raises Problem."""
    try:
        given = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise Problem(400, "bad_request", "the body is no JSON") from None
    if not isinstance(given, dict):
        raise Problem(400, "bad_request", f"the body must be an object, such as {example}")
    for name in given:
        if name not in known:
            raise unknown_parameter(name, known)
    return given


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
