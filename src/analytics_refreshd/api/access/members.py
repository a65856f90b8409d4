"""Admits requests by a JSON Web Token."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from analytics_refreshd.api.access.lookup import Lookup
from analytics_refreshd.api.access.principal import AccessDenied, Admission, Principal
from analytics_refreshd.api.access.requests import asked_organization, unauthorized, values
from analytics_refreshd.core.access import (
    DEFAULT_PLAN,
    PLANS,
    PLATFORM_PLAN,
    ROLES,
    Memberships,
    NoMembershipError,
    WhichOrganizationError,
    claimed,
    membership,
)
from analytics_refreshd.core.ports import Clock

_LONGEST_USER = 200


@dataclass(frozen=True, slots=True)
class Claims:
    """Which claims say what. Those of organizations, administrators and operators count only where they are named.

    The claim of administrators and that of operators must be true.
    """

    user: str = "sub"
    organizations: str | None = None
    administrator: str | None = None
    operator: str | None = None


class MemberStore(Protocol):
    """Where memberships are."""

    def memberships(self, user: str) -> Memberships:
        """Return the organizations of a user. Raises DatabaseFault."""


class TokenGate:
    """Admits by `Authorization: Bearer`. A user's memberships are read at most every ten seconds."""

    def __init__(
        self, verify: Callable[[str], Mapping[str, Any]], claims: Claims, store: MemberStore, clock: Clock
    ) -> None:
        self._verify = verify
        self._claims = claims
        self._memberships: Lookup[str, Memberships] = Lookup(store.memberships, clock)

    def admit(self, headers: Mapping[str, str], organization_id: str | None, address: str, cost: int) -> Admission:
        """Return who asks. Raises AccessDenied."""
        claims = self._claims_of(headers)
        asked = asked_organization(headers, organization_id)
        user, key_id = str(claims[self._claims.user]), self._key_id(claims)
        operator = self._is_true(claims, self._claims.operator)
        if self._is_true(claims, self._claims.administrator):
            seen = None if asked is None else (asked,)
            return Admission(Principal(key_id, seen, "admin", PLATFORM_PLAN, operator))
        known = self._memberships.get(user)
        others = claimed(claims.get(self._claims.organizations)) if self._claims.organizations else ()
        try:
            found = membership(known, others, asked)
        except WhichOrganizationError:
            raise AccessDenied(
                400, "missing_organization", "name one of your organizations: X-Organization-ID or ?organization_id="
            ) from None
        except NoMembershipError:
            raise AccessDenied(403, "forbidden", self._why(known, asked)) from None
        role = found.role if found.role in ROLES else ROLES[-1]
        plan = found.plan if found.plan in PLANS else DEFAULT_PLAN
        return Admission(Principal(key_id, (found.organization_id,), role, plan or DEFAULT_PLAN, operator))

    def admit_person(self, headers: Mapping[str, str], address: str) -> Admission:
        """Return who asks, whatever organizations it sees: a user of none may be an operator. Raises AccessDenied."""
        claims = self._claims_of(headers)
        operator = self._is_true(claims, self._claims.operator)
        return Admission(Principal(self._key_id(claims), (), ROLES[-1], PLATFORM_PLAN, operator))

    def _claims_of(self, headers: Mapping[str, str]) -> Mapping[str, Any]:
        given = values(headers, "authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized("send one token, as Authorization: Bearer TOKEN")
        return self._verify(token.strip())

    def _key_id(self, claims: Mapping[str, Any]) -> str:
        user = str(claims[self._claims.user])
        if len(user) > _LONGEST_USER:
            raise unauthorized("this token names no user")
        return f"user:{user}"

    def _why(self, known: Memberships, asked: str | None) -> str:
        if asked is not None and known.kept:
            return "you are not a member of the organization that the request names"
        if known.kept:
            return "you are a member of no organization"
        named = (
            f"and the token's claim {self._claims.organizations} names none"
            if self._claims.organizations
            else ("and no claim of the token is taken instead ([api] jwt_organizations_claim)")
        )
        return f"this installation keeps no members of organizations: you own none that you could see here, {named}"

    @staticmethod
    def _is_true(claims: Mapping[str, Any], name: str | None) -> bool:
        return name is not None and claims.get(name) is True
