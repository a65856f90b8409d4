"""What an erasure erases, and what its receipt says of whom."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

SHORTEST_KEY_BYTES = 16
_HEX_DIGITS = 32
_KEY_ID_DIGITS = 12


class Scope(StrEnum):
    """By what the rows of an erasure are found."""

    USER = "user"
    ORGANIZATION = "organization"
    TRIGGER = "trigger"


class Mode(StrEnum):
    """What becomes of a row: its texts go, or all of it."""

    REDACT = "redact"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose rows: the id of a user, an organization or a trigger."""

    scope: Scope
    identifier: str


class Key:
    """Hashes what must not be read any more. Without the key nobody finds out what was hashed."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SHORTEST_KEY_BYTES:
            raise ValueError(f"a key has at least {SHORTEST_KEY_BYTES} bytes")
        self._secret = secret

    @property
    def key_id(self) -> str:
        """Return what receipts call this key."""
        return self._digest("key", b"")[:_KEY_ID_DIGITS]

    def redacted(self, value: bytes | None) -> str | None:
        """Return what takes the place of an id; None for None."""
        return None if value is None else f"erased:{self._digest('value', value)}"

    def subject_hash(self, subject: Subject) -> str:
        """Return what a receipt says of whose rows were erased."""
        return self._digest(subject.scope, subject.identifier.encode(errors="surrogateescape"))

    def _digest(self, kind: str, value: bytes) -> str:
        return hmac.new(self._secret, kind.encode() + b"\0" + value, hashlib.sha256).hexdigest()[:_HEX_DIGITS]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased, when and by whom, without saying whose it was.

    `ended_at`, `outcome` and `rows_left` are None while it goes on. `rows_unlinked` are rows of the whole log that no
    trigger links to a user: nobody can tell whose they are. `replay_of` is the erasure that was done again.
    """

    erasure_id: UUID
    scope: Scope
    mode: Mode
    subject_hash: str
    key_id: str
    begun_at: datetime
    ended_at: datetime | None
    actor: str
    triggers: int
    rows_erased: int
    rows_left: int | None
    rows_unlinked: int
    frozen_executions: int
    texts_erased: int
    outcome: str | None
    reason: str | None
    replay_of: UUID | None = None

    @property
    def until(self) -> datetime:
        """Return up to when rows were erased: a replay leaves younger ones alone."""
        return self.ended_at or self.begun_at


def matching(key: Key, receipts: list[Receipt], candidates: dict[Scope, list[str]]) -> list[tuple[Receipt, Subject]]:
    """Find whom receipts speak of, among a database's ids."""
    known = {
        (scope, key.subject_hash(subject)): subject
        for scope, identifiers in candidates.items()
        for subject in (Subject(scope, identifier) for identifier in identifiers)
    }
    return [
        (receipt, known[receipt.scope, receipt.subject_hash])
        for receipt in receipts
        if receipt.key_id == key.key_id and (receipt.scope, receipt.subject_hash) in known
    ]


def latest(receipts: list[Receipt]) -> list[Receipt]:
    """Return the last receipt of each subject and mode, in order."""
    last: dict[tuple[str, str, str, str], Receipt] = {}
    for receipt in sorted(receipts, key=lambda each: each.until):
        last[receipt.key_id, receipt.scope, receipt.subject_hash, receipt.mode] = receipt
    return sorted(last.values(), key=lambda each: each.until)
