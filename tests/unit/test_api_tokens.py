"""Tokens: which are good, for whom, and what a forged one gets."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from analytics_refreshd.api.access.gate import AccessGate
from analytics_refreshd.api.access.jwks import AGAIN_SECONDS, JwksKeys
from analytics_refreshd.api.access.keys import KeyGate
from analytics_refreshd.api.access.members import Claims, TokenGate
from analytics_refreshd.api.access.principal import AccessDenied, Principal
from analytics_refreshd.api.access.tokens import SharedSecret, TokenRules, TokenVerifier
from analytics_refreshd.core.access import Membership, Memberships
from tests.support.fakes import FakeClock
from tests.unit.test_api_keys import KEY, SECRET, Keys

SHARED = b"s" * 32
DAY = 86_400.0
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwks(*more: Mapping[str, Any]) -> bytes:
    """The issuer's public keys, and others."""
    keys = [
        {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "r", "use": "sig"},
        {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "e"},
        *more,
    ]
    return json.dumps({"keys": keys}).encode()


def hs(secret: bytes = SHARED, **claims: Any) -> str:
    """A token of HS256, good for a day unless claims say otherwise."""
    return jwt.encode({"sub": "u", "exp": time.time() + DAY, **claims}, secret, "HS256")


def rs(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "r", **claims: Any) -> str:
    """A token of another key."""
    given = {"sub": "u", "exp": time.time() + DAY, "aud": "analytics", **claims}
    return jwt.encode(given, key, algorithm, headers={"kid": kid} if kid else None)


def raw(header: Mapping[str, Any], claims: Mapping[str, Any], signature: bytes = b"") -> str:
    """A token put together by hand, signed with HMAC by whatever is given."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}"
    proof = hmac.new(signature, signed.encode(), hashlib.sha256).digest() if signature else b""
    return f"{signed}.{part(proof)}"


def numbered(value: object) -> str:
    """Name a case by nothing but its number: a token is another in each process that collects the cases."""
    return "" if not isinstance(value, str) or value.count(".") == 2 else value[:20]


SHARED_VERIFIER = TokenVerifier(TokenRules(("HS256",)), SharedSecret(SHARED))


def public_verifier(keys: bytes | None = None, **rules: Any) -> TokenVerifier:
    """Of RS256 and ES256, for the audience analytics."""
    found = TokenRules(("RS256", "ES256"), **{"audience": "analytics", **rules})
    return TokenVerifier(found, JwksKeys(lambda: keys or jwks(), FakeClock()))


@pytest.mark.parametrize(
    ("verifier", "token"),
    [
        (SHARED_VERIFIER, lambda: hs()),
        (SHARED_VERIFIER, lambda: hs(exp=time.time() - 30)),
        (SHARED_VERIFIER, lambda: hs(iat=time.time() + 30, nbf=time.time() + 30)),
        (public_verifier(), lambda: rs()),
        (public_verifier(), lambda: rs(EC, "ES256", "e")),
        (public_verifier(), lambda: rs(kid=None)),
        (public_verifier(), lambda: rs(aud=["other", "analytics"])),
        (public_verifier(issuer="https://id.example.net"), lambda: rs(iss="https://id.example.net")),
    ],
    ids=numbered,
)
def test_a_good_token(verifier: TokenVerifier, token: Callable[[], str]) -> None:
    """By secret or public key, with clocks that are up to a minute apart."""
    assert verifier.claims(token())["sub"] == "u"


NOW = time.time()
GOOD = {"sub": "u", "exp": NOW + DAY, "aud": "analytics"}


@pytest.mark.parametrize(
    ("verifier", "token", "said"),
    [
        (SHARED_VERIFIER, hs(exp=NOW - 61), "expired"),
        (SHARED_VERIFIER, hs(nbf=NOW + DAY), "not good yet"),
        (SHARED_VERIFIER, hs(iat=NOW + DAY), "not good yet"),
        (SHARED_VERIFIER, hs(b"x" * 32), "not good"),
        (SHARED_VERIFIER, hs(aud="analytics"), "another audience"),
        (SHARED_VERIFIER, jwt.encode({"sub": "u"}, SHARED, "HS256"), "lacks the claim exp"),
        (SHARED_VERIFIER, jwt.encode({"exp": NOW + DAY}, SHARED, "HS256"), "lacks the claim sub"),
        (SHARED_VERIFIER, jwt.encode({"sub": "", "exp": NOW + DAY}, SHARED, "HS256"), "names no user"),
        (SHARED_VERIFIER, raw({"alg": "HS256"}, {"sub": 7, "exp": NOW + DAY}, SHARED), "not good"),
        (SHARED_VERIFIER, raw({"alg": "none"}, GOOD), "not signed with HS256"),
        (SHARED_VERIFIER, raw({"alg": "None"}, GOOD), "not signed with HS256"),
        (SHARED_VERIFIER, raw({"alg": None}, GOOD), "token"),
        (SHARED_VERIFIER, raw({"alg": ["HS256"]}, GOOD), "token"),
        (SHARED_VERIFIER, raw({}, GOOD), "token"),
        (SHARED_VERIFIER, jwt.encode(GOOD, SHARED * 2, "HS512"), "not signed with HS256"),
        (SHARED_VERIFIER, rs(), "not signed with HS256"),
        (SHARED_VERIFIER, "a.b.c", "no JSON Web Token"),
        (SHARED_VERIFIER, "x" * 9000, "longer"),
        (SHARED_VERIFIER, "é.é.é", "no JSON Web Token"),
        (public_verifier(), raw({"alg": "none", "kid": "r"}, GOOD), "not signed with RS256 or ES256"),
        (public_verifier(), raw({"alg": "HS256", "kid": "r"}, GOOD, PEM), "not signed with RS256 or ES256"),
        (public_verifier(), raw({"alg": "RS256", "kid": "r"}, GOOD, PEM), "not good"),
        (public_verifier(), raw({"alg": "RS256", "kid": "e"}, GOOD, PEM), "key that is not known"),
        (public_verifier(), rs(OTHER_RSA), "not good"),
        (public_verifier(), rs(kid="none"), "key that is not known"),
        (public_verifier(), rs(EC, "ES256", "r"), "key that is not known"),
        (public_verifier(), rs(aud="other"), "another audience"),
        (public_verifier(), rs(aud=None), "token"),
        (public_verifier(issuer="https://id.example.net"), rs(iss="https://evil.example.net"), "another issuer"),
        (public_verifier(issuer="https://id.example.net"), rs(), "lacks the claim iss"),
        (
            public_verifier(jwks({"kty": "oct", "k": "c2VjcmV0", "kid": "o", "alg": "RS256"})),
            raw({"alg": "RS256", "kid": "o"}, GOOD, b"secret"),
            "key that is not known",
        ),
        (
            TokenVerifier(TokenRules(("RS256",), "analytics"), JwksKeys(jwks, FakeClock())),
            rs(EC, "ES256", "e"),
            "not signed with RS256",
        ),
    ],
    ids=numbered,
)  # fmt: skip
def test_P04_what_is_no_good_token(verifier: TokenVerifier, token: str, said: str) -> None:
    """Each is 401: expired, early, forged, unsigned, by another algorithm, for others, or signed with a public key."""
    with pytest.raises(AccessDenied, match=said) as denied:
        verifier.claims(token)
    assert (denied.value.status, "WWW-Authenticate" in denied.value.headers) == (401, True)
    assert token not in denied.value.detail


def test_keys_of_the_issuer_are_read_seldom() -> None:
    """For a key that is not known once in 30 s, else every five minutes; and they outlive the issuer's outage."""
    clock, reads, broken = FakeClock(), [0], [False]

    def read() -> bytes:
        reads[0] += 1
        if broken[0]:
            raise OSError("away")
        return (
            jwks() if reads[0] < 3 else jwks({**RSAAlgorithm.to_jwk(OTHER_RSA.public_key(), as_dict=True), "kid": "n"})
        )

    keys = JwksKeys(read, clock)
    assert keys.key("RS256", "r") is not None
    for number in range(5):
        assert keys.key("RS256", f"unknown{number}") is None
    assert reads == [1]
    clock.pass_by(AGAIN_SECONDS)
    assert keys.key("RS256", "n") is None
    clock.pass_by(AGAIN_SECONDS)
    assert keys.key("RS256", "n") is not None
    assert reads == [3]
    broken[0] = True
    clock.pass_by(3600)
    assert keys.key("RS256", "r") is not None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [1, {"kty": "x"}]}', b"\xff"])
def test_without_any_key_tokens_cannot_be_checked(content: bytes) -> None:
    """A set that cannot be read is no refusal of who asks: 503, and when to come again."""
    with pytest.raises(AccessDenied) as denied:
        JwksKeys(lambda: content, FakeClock()).key("RS256", "r")
    assert (denied.value.status, "Retry-After" in denied.value.headers) == (503, True)


class Members:
    """Memberships in memory."""

    def __init__(self, kept: bool = True, **found: list[Membership]) -> None:
        self.kept = kept
        self.found = found

    def memberships(self, user: str) -> Memberships:
        return Memberships(self.kept, tuple(self.found.get(user, ())))


ACME, BOLT = Membership("acme", "owner", "pro"), Membership("bolt", "viewer", "gold")


def admit(store: Members, organization: str | None = None, claims: Claims | None = None, **given: Any) -> Principal:
    """Who a token of the user u is."""
    gate = TokenGate(SHARED_VERIFIER.claims, claims or Claims(), store, FakeClock())
    return gate.admit({"Authorization": f"Bearer {hs(**given)}"}, organization, "", 1).principal


def test_a_user_is_what_the_organization_says() -> None:
    """Role and plan are those of the membership; an unknown plan is the smallest."""
    assert admit(Members(u=[ACME])) == Principal("user:u", ("acme",), "owner", "pro")
    assert admit(Members(u=[ACME, BOLT]), "bolt") == Principal("user:u", ("bolt",), "viewer", "free")
    assert admit(Members(u=[Membership("acme", "billing", None)])).role == "viewer"


def test_an_administrator_and_an_operator_are_named_by_claims() -> None:
    """By the configured ones alone, and only if they are true."""
    claims = Claims(administrator="platform_admin", operator="may_refresh")
    everyone = admit(Members(), claims=claims, platform_admin=True, may_refresh=True)
    assert everyone == Principal("user:u", None, "admin", "enterprise", True)
    assert admit(Members(), "acme", claims, platform_admin=True).organizations == ("acme",)
    for given in ({"platform_admin": "true"}, {"platform_admin": 1}, {"admin": True}):
        with pytest.raises(AccessDenied) as denied:
            admit(Members(), claims=claims, **given)
        assert denied.value.status == 403
    with pytest.raises(AccessDenied):
        admit(Members(), platform_admin=True)


@pytest.mark.parametrize(
    ("store", "organization", "answer", "said"),
    [
        (Members(u=[ACME, BOLT]), None, (400, "missing_organization"), "X-Organization-ID"),
        (Members(u=[ACME]), "bolt", (403, "forbidden"), "not a member"),
        (Members(), None, (403, "forbidden"), "member of no organization"),
        (Members(kept=False), None, (403, "forbidden"), "keeps no members"),
    ],
)
def test_P02_P04_what_a_user_may_not(
    store: Members, organization: str | None, answer: tuple[int, str], said: str
) -> None:
    """The sentence says what would help."""
    with pytest.raises(AccessDenied, match=said) as denied:
        admit(store, organization)
    assert (denied.value.status, denied.value.code) == answer


def test_a_claim_of_organizations_counts_without_members_alone() -> None:
    """Where the database keeps members, a token cannot add to them."""
    claims = Claims(organizations="orgs")
    assert admit(Members(kept=False), "crux", claims, orgs={"crux": "member"}).role == "member"
    with pytest.raises(AccessDenied):
        admit(Members(kept=True), "crux", claims, orgs={"crux": "member"})
    with pytest.raises(AccessDenied):
        admit(Members(kept=False), "crux", orgs={"crux": "member"})


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Basic dTpw"}, 401),
        ({"authorization": hs()}, 401),
        ({"authorization": f"Bearer {hs()}", "Authorization": f"Bearer {hs()}"}, 401),
        ({"authorization": f"Bearer {hs()}", "x-api-key": SECRET}, 400),
        ({}, 401),
    ],
)
def test_one_proof_of_one_kind(headers: Mapping[str, str], answer: int) -> None:
    """Two, or none, are refused."""
    clock = FakeClock()
    keys = KeyGate(Keys((SECRET, KEY)), clock)
    gate = AccessGate(keys, TokenGate(SHARED_VERIFIER.claims, Claims(), Members(u=[ACME]), clock))
    with pytest.raises(AccessDenied) as denied:
        gate.admit(headers, None, "", 1)
    assert denied.value.status == answer
    assert gate.admit({"AUTHORIZATION": f"bearer {hs()}"}, None, "", 1).principal.organizations == ("acme",)
    assert gate.admit({"x-api-key": SECRET}, "bolt", "", 1).principal.organizations == ("bolt",)
    with pytest.raises(AccessDenied, match="not taken here"):
        AccessGate(keys).admit({"authorization": f"Bearer {hs()}"}, None, "", 1)
