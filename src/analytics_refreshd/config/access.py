"""The keys of `[api]` that say who is admitted, and how often."""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from analytics_refreshd.config.values import Section

Plan = Literal["free", "starter", "pro", "enterprise"]
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ClaimName = Annotated[str, Field(min_length=1, max_length=200)]


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise ValueError('is no network: write it like "10.0.0.0/8" or "192.0.2.7"') from None
    return text


def _keys_of_issuer(text: str) -> str:
    """Refuse an address by which anybody on the way could put in keys."""
    parts = urlsplit(text)
    if parts.scheme in ("", "https") or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return text
    raise ValueError("must be a file, or an https:// address")


class AccessSettings(Section):
    """Who is admitted, and how often.

    `secret_file` holds what the API's processes and the database share. Without `jwt_algorithms` no token is taken. A
    claim counts only where it is named; those of administrators and operators must be true. `requests_per_hour` is by
    plan, `burst` the share of it in a minute. `replicas` divide both, where no `limits_url_file` names a Redis.
    """

    secret_file: Path | None = None
    error_text: Literal["redacted", "stored"] = "redacted"
    jwt_algorithms: list[Literal["HS256", "RS256", "ES256"]] = Field(default_factory=list)
    jwt_secret_file: Path | None = None
    jwt_keys: Annotated[str, AfterValidator(_keys_of_issuer)] | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    jwt_user_claim: _ClaimName = "sub"
    jwt_organizations_claim: _ClaimName | None = None
    jwt_administrator_claim: _ClaimName | None = None
    jwt_operator_claim: _ClaimName | None = None
    requests_per_hour: dict[Plan, Annotated[int, Field(ge=1, le=10_000_000)]] = Field(default_factory=dict)
    burst: Annotated[float, Field(gt=0, le=1)] = 0.2
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    limits_url_file: Path | None = None
    without_limits: Literal["admit", "refuse"] = "admit"
    concurrent_queries: Annotated[int, Field(ge=1, le=100)] = 4
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = Field(default_factory=list)


def access_contradictions(access: AccessSettings) -> Iterator[str]:
    """Yield what does not fit together."""
    shared = "HS256" in access.jwt_algorithms
    if shared and len(set(access.jwt_algorithms)) > 1:
        yield "api.jwt_algorithms is HS256, or of RS256 and ES256: a key of one kind must not be taken for the other"
    elif shared and access.jwt_secret_file is None:
        yield "api.jwt_algorithms is HS256, and api.jwt_secret_file is missing"
    elif access.jwt_algorithms and not shared and access.jwt_keys is None:
        yield "api.jwt_keys is missing: name the file or the address of the issuer's public keys (JWKS)"
    if access.jwt_algorithms and not shared and access.jwt_audience is None:
        yield "api.jwt_audience is missing: without it a token for any other service of the issuer would be good here"
