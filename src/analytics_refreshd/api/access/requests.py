"""Reads from a request's headers who asks, and for which organization."""

from collections.abc import Callable, Mapping

from analytics_refreshd.api.access.principal import AccessDenied

_LONGEST_ORGANIZATION = 1000
_CHALLENGE = {"WWW-Authenticate": 'ApiKey realm="analytics", Bearer realm="analytics"'}


def values(headers: Mapping[str, str], name: str) -> list[str]:
    """Return all values of a header; `name` is in lower case."""
    # those of a request can find one, and need not decode all
    listed: Callable[[str], list[str]] | None = getattr(headers, "getlist", None)
    if listed is not None:
        return listed(name)
    return [value for header, value in headers.items() if header.lower() == name]


def asked_organization(headers: Mapping[str, str], parameter: str | None) -> str | None:
    """Return the organization that the request names.

    It is named by `X-Organization-ID` or by the parameter. Raises AccessDenied (400) for two, and for what is no id.
    """
    named = {*values(headers, "x-organization-id"), *([parameter] if parameter is not None else [])}
    if len(named) > 1:
        raise AccessDenied(400, "bad_request", "the request names two organizations: X-Organization-ID and parameter")
    asked = named.pop() if named else None
    if asked is not None and (not asked or "\x00" in asked or len(asked) > _LONGEST_ORGANIZATION):
        raise AccessDenied(400, "bad_request", "the request names no organization id")
    return asked


def unauthorized(detail: str) -> AccessDenied:
    """Make the answer to who does not prove who it is."""
    return AccessDenied(401, "unauthorized", detail, _CHALLENGE)
