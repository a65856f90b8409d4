"""Decides what an API key is good for, and which organizations a request may see."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

ROLES = ("owner", "admin", "member", "viewer")
"""Roles, the one with most rights first."""
PLANS = ("free", "starter", "pro", "enterprise")
DEFAULT_PLAN = "free"
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


def key_digest(key: str) -> bytes | None:
    """Return the SHA-256 of a key, or None if it is no key.

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
