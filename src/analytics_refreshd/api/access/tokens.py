"""Verifies JSON Web Tokens: by pinned algorithms, audience and keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from analytics_refreshd.api.access.requests import unauthorized

LEEWAY_SECONDS = 60
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must be.

    `algorithms` are HS256 alone, or some of RS256 and ES256: no key may serve both kinds. `audience` and `issuer` are
    required of a token where they are set; a token for an audience is refused where none is.
    """

    algorithms: tuple[str, ...]
    audience: str | None = None
    issuer: str | None = None
    user_claim: str = "sub"


class KeySource(Protocol):
    """Where the keys are that verify tokens."""

    def key(self, algorithm: str, key_id: str | None) -> Any:
        """Return the key for a token's header, None if there is none. Raises AccessDenied (503)."""


class SharedSecret:
    """The one secret of HS256."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def key(self, algorithm: str, key_id: str | None) -> Any:
        """Return the secret, for HS256 alone."""
        return self._secret if algorithm == "HS256" else None


class TokenVerifier:
    """Verifies tokens by the rules."""

    def __init__(self, rules: TokenRules, keys: KeySource) -> None:
        self._rules = rules
        self._keys = keys

    def claims(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token that is good now. Raises AccessDenied (401), which says what is wrong."""
        if len(token) > _LONGEST:
            raise unauthorized(f"this token is longer than {_LONGEST:,} characters")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError):
            raise unauthorized("this is no JSON Web Token") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        # before any key is looked for: `none`, or another kind of key than the configured one
        if algorithm not in self._rules.algorithms:
            raise unauthorized(f"this token is not signed with {' or '.join(self._rules.algorithms)}")
        key = self._keys.key(algorithm, key_id if isinstance(key_id, str) else None)
        if key is None:
            raise unauthorized("this token is signed with a key that is not known")
        return self._decoded(token, algorithm, key)

    def _decoded(self, token: str, algorithm: str, key: Any) -> Mapping[str, Any]:
        rules = self._rules
        required = ["exp", rules.user_claim, *(["aud"] if rules.audience else []), *(["iss"] if rules.issuer else [])]
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": required, "verify_signature": True},
            )
        except jwt.ExpiredSignatureError:
            raise unauthorized("this token has expired") from None
        except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError):
            raise unauthorized("this token is not good yet") from None
        except jwt.InvalidAudienceError:
            raise unauthorized("this token is for another audience") from None
        except jwt.InvalidIssuerError:
            raise unauthorized("this token is from another issuer") from None
        except jwt.MissingRequiredClaimError as error:
            raise unauthorized(f"this token lacks the claim {error.claim}") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise unauthorized("this token is not good") from None
        user = claims[rules.user_claim]
        if not isinstance(user, str) or not user or "\x00" in user:
            raise unauthorized(f"this token's claim {rules.user_claim} names no user")
        return claims
