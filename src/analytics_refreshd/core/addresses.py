"""What is wrong with an address that the configuration names."""

import re
from urllib.parse import urlsplit

_URL = re.compile(r"https?://[^/]", re.IGNORECASE)


def url_problem(url: str) -> str | None:
    """Say what is wrong with an HTTP address, without repeating it. None where it can be used."""
    try:
        parts = urlsplit(url)
        named = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        return "cannot be read: look at its host and port"
    if not (_URL.match(url) and named):
        return "must begin with http:// or https:// and name a host"
    if not str(parts.hostname).isascii():
        return "must name its host in ASCII, as xn--…"
    return None


def base_problem(url: str) -> str | None:
    """Say what is wrong with an address that paths are appended to.

    It is logged, so that it may hold no secret. None where it can be used.
    """
    problem = url_problem(url)
    if problem is not None:
        return problem
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        return "must hold no user and no password: they would be logged"
    if parts.query or parts.fragment:
        return "must end with a host or a path: what is sent has paths of its own below it"
    return None
