"""Reads a request's body, and refuses pages of other sites."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import anyio
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from analytics_refreshd.api.access.requests import values
from analytics_refreshd.api.problems import Problem, invalid, unknown_parameter
from analytics_refreshd.config.values import parse_duration
from analytics_refreshd.core.requests import RequestKind

MOST_BYTES = 4096
MOST_REASON = 500
LONGEST = timedelta(days=7)
_SECONDS = 10.0
_FROM_HERE = ("same-origin", "none")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `length` is that of a pause."""

    reason: str | None
    length: timedelta | None


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

    Raises Problem: 403, or 415. There are no cookies, so that such a page would lack the key, too. A form cannot send
    JSON.
    """
    sites, origins, hosts = (values(headers, name) for name in ("sec-fetch-site", "origin", "host"))
    # a browser sets the first one by itself; one that is older sends the second alone
    if sites:
        foreign = any(site not in _FROM_HERE for site in sites)
    else:
        foreign = any(_place(origin) not in [host.lower() for host in hosts] for origin in origins)
    if foreign:
        raise Problem(403, "forbidden", "a page of another site may not ask for this")
    kinds = [kind.partition(";")[0].strip().lower() for kind in values(headers, "content-type")]
    if kinds != ["application/json"]:
        raise Problem(415, "bad_request", "send the header Content-Type: application/json")


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def wish_of(kind: RequestKind, body: bytes) -> Wish:
    """Read the body of an action. Raises Problem."""
    try:
        given = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise Problem(400, "bad_request", "the body is no JSON") from None
    if not isinstance(given, dict):
        raise Problem(400, "bad_request", 'the body must be an object, such as {"reason": "nightly import"}')
    known = ("reason", "for") if kind is RequestKind.PAUSE else ("reason",)
    for name in given:
        if name not in known:
            raise unknown_parameter(name, known)
    reason = _reason(given.get("reason"))
    if kind is not RequestKind.PAUSE:
        return Wish(reason, None)
    if reason is None:
        raise invalid("a pause needs a reason, for the person who is paged", parameter="reason")
    return Wish(reason, _length(given.get("for")))


def _reason(given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or len(given) > MOST_REASON or not given.isprintable():
        raise invalid(f"reason must be one line of at most {MOST_REASON} characters", parameter="reason")
    return given.strip() or None


def _length(given: object) -> timedelta:
    try:
        length = parse_duration(given) if isinstance(given, str) else timedelta(0)
    except (ValueError, OverflowError):
        length = timedelta(0)
    if not timedelta(0) < length <= LONGEST:
        raise invalid('for must be a duration such as "2h", of at most 7d: a pause ends by itself', parameter="for")
    return length
