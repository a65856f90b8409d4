"""Decides what API keys and users may see."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

ROLES = ("owner", "admin", "member", "viewer")
"""Roles, the one with most rights first."""
PLANS = ("free", "starter", "pro", "enterprise")
DEFAULT_PLAN = "free"
PLATFORM_PLAN = "enterprise"
"""The plan of a key for all organizations, unless it has another."""
READ_STORED = ("owner", "admin")
"""Roles that may read error texts as they are stored, where that is configured."""
KEEP_QUESTIONS = ("owner", "admin", "member")
"""Roles that may name and keep questions for their organization."""
KEY_PREFIX = "rfd_"
_KEY = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9_-]{{43}}")


class KeyState(StrEnum):
    """Whether a key is good."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key is to be good for.

    `organizations` None is all of them; `plan` None is that of the organization.
    """

    name: str
    organizations: tuple[str, ...] | None
    role: str
    plan: str | None
    operator: bool
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, without its secret.

    `organizations` None is all of them; `plan` None is that of the organization. Times are the server's.
    """

    key_id: str
    name: str
    organizations: tuple[str, ...] | None
    role: str
    plan: str | None
    operator: bool
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def state(self, now: datetime) -> KeyState:
        """Return whether it is good at `now`."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return KeyState.EXPIRED
        return KeyState.ACTIVE


@dataclass(frozen=True, slots=True)
class Membership:
    """A user's place in an organization. `plan` None is not known."""

    organization_id: str
    role: str
    plan: str | None = None


@dataclass(frozen=True, slots=True)
class Memberships:
    """A user's organizations.

    `kept` is whether the database keeps members; else only owners are known to it.
    """

    kept: bool
    found: tuple[Membership, ...]


class NoMembershipError(ValueError):
    """A user may not see what was asked for."""


class WhichOrganizationError(ValueError):
    """A user of several organizations named none."""


def claimed(value: object) -> tuple[Membership, ...]:
    """Return the memberships that a claim names: a list of ids, or a role by id.

    Who is only listed is a viewer, and so is who has a role that is not known. Anything else names none.
    """
    if isinstance(value, Mapping):
        pairs = [(one, role if role in ROLES else ROLES[-1]) for one, role in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(one, ROLES[-1]) for one in value]
    else:
        return ()
    return tuple(Membership(one, role) for one, role in pairs if isinstance(one, str) and one)


def membership(known: Memberships, claims: Sequence[Membership], asked: str | None) -> Membership:
    """Return the membership that a request is for.

    Claims count only where the database keeps no members, and less than what it knows. Raises NoMembershipError and
    WhichOrganizationError.
    """
    all_known = {one.organization_id: one for one in (*(() if known.kept else claims), *known.found)}
    if asked is not None:
        if asked not in all_known:
            raise NoMembershipError
        return all_known[asked]
    if not all_known:
        raise NoMembershipError
    if len(all_known) > 1:
        raise WhichOrganizationError
    return next(iter(all_known.values()))


def key_digest(key: str) -> bytes | None:
    """Return the SHA-256 of a key. None: it is no key.

    A key has 256 random bits, so that a fast hash is enough: nobody can try them all.
    """
    return hashlib.sha256(key.encode("ascii")).digest() if _KEY.fullmatch(key) else None


def visible(organizations: Sequence[str] | None, asked: str | None) -> tuple[str, ...] | None:
    """Return the organizations that a request sees. None is all of them.

    `organizations` are those of who asks, None for all; `asked` is the one that the request names. Raises ValueError
    if that is not among them.
    """
    if asked is None:
        return None if organizations is None else tuple(organizations)
    if organizations is not None and asked not in organizations:
        raise ValueError("is not an organization of this caller")
    return (asked,)
