"""Builds the gate from the configuration."""

from collections.abc import Callable
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError

from analytics_refreshd.api.access.gate import AccessGate
from analytics_refreshd.api.access.jwks import JwksKeys
from analytics_refreshd.api.access.keys import KeyGate, KeyStore
from analytics_refreshd.api.access.limits import MEMORY, PER_HOUR, LimitRules, Limits
from analytics_refreshd.api.access.members import Claims, MemberStore, TokenGate
from analytics_refreshd.api.access.tokens import SharedSecret, TokenRules, TokenVerifier
from analytics_refreshd.api.access.unknown import UnknownKeys
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import jwt_secret, limits_url
from analytics_refreshd.core.files import read_small
from analytics_refreshd.core.ports import Clock

_MOST_KEY_BYTES = 256 * 1024
_SECONDS = 5.0


def access_gate(
    config: Config,
    keys: KeyStore,
    members: MemberStore,
    clock: Clock,
    in_vain: Callable[[str], None] = lambda result: None,
    uncounted: Callable[[str], None] = lambda result: None,
) -> AccessGate:
    """Build the gate of `[api]`: keys, tokens where they are configured, and limits.

    `in_vain` is told what became of each unknown key, `uncounted` of each request that limits could not count. Raises
    ConfigError.
    """
    limits = Limits(limit_rules(config), uncounted)
    unknown = UnknownKeys(clock, by_address=bool(config.api.trusted_proxies), counted=in_vain)
    return AccessGate(KeyGate(keys, clock, unknown), _tokens(config, members, clock), limits)


def limit_rules(config: Config) -> LimitRules:
    """Return the limits of `[api]`. Raises ConfigError."""
    access, url = config.api, limits_url(config)
    return LimitRules(
        per_hour={**PER_HOUR, **{str(plan): most for plan, most in access.requests_per_hour.items()}},
        burst=access.burst,
        # a Redis counts for all of them
        replicas=1 if url else access.replicas,
        storage=url or MEMORY,
        open_without_storage=access.without_limits == "admit",
    )


def _tokens(config: Config, members: MemberStore, clock: Clock) -> TokenGate | None:
    access = config.api
    if not access.jwt_algorithms:
        return None
    rules = TokenRules(tuple(access.jwt_algorithms), access.jwt_audience, access.jwt_issuer, access.jwt_user_claim)
    secret = jwt_secret(config) if "HS256" in access.jwt_algorithms else None
    source = SharedSecret(secret) if secret else JwksKeys(lambda: _read_keys(access.jwt_keys or ""), clock)
    claims = Claims(
        access.jwt_user_claim,
        access.jwt_organizations_claim,
        access.jwt_administrator_claim,
        access.jwt_operator_claim,
    )
    return TokenGate(TokenVerifier(rules, source).claims, claims, members, clock)


def _read_keys(source: str) -> bytes:
    """Read the keys of an issuer, from a file or an address. Raises OSError."""
    if "://" not in source:
        return read_small(Path(source), _MOST_KEY_BYTES)
    try:
        with urllib3.PoolManager(timeout=urllib3.Timeout(total=_SECONDS), retries=False) as pool:
            # a redirection could lead away from https
            answer = pool.request("GET", source, redirect=False, preload_content=False)
            content = answer.read(_MOST_KEY_BYTES + 1, decode_content=True)
    except HTTPError as error:
        raise OSError("the keys of the issuer cannot be read") from error
    if answer.status != 200 or len(content) > _MOST_KEY_BYTES:
        raise OSError(f"the issuer answers {answer.status}, or more than its keys")
    return content
