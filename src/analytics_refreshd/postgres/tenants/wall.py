"""Admits transactions of the API's role to organizations."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from psycopg.rows import tuple_row

from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.batch import Statement
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_BLOCK_BYTES = 64
_FILE = "tenants/wall.sql"


@dataclass(frozen=True, slots=True)
class WallSecret:
    """What processes and database share, as the keys of HMAC-SHA-256.

    `secret_id` names it, and tells nothing of it.
    """

    secret_id: str
    inner_key: bytes
    outer_key: bytes

    @classmethod
    def of(cls, secret: bytes) -> Self:
        """Derive the keys of a secret, as RFC 2104 does."""
        key = hashlib.sha256(secret).digest().ljust(_BLOCK_BYTES, b"\0")
        inner, outer = (bytes(byte ^ pad for byte in key) for pad in (0x36, 0x5C))
        return cls(hashlib.sha256(b"id" + key).hexdigest()[:12], inner, outer)

    def token(self, transaction: str, admitted: Mapping[str, object]) -> str:
        """Return the token that admits `transaction`.

        The database says what that is, as `pid time`.
        """
        payload = json.dumps(admitted)
        inner = hashlib.sha256(self.inner_key + f"{transaction} {payload}".encode()).digest()
        return f"{self.secret_id} {hashlib.sha256(self.outer_key + inner).hexdigest()} {payload}"


class Wall:
    """Admits transactions by the API's secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = WallSecret.of(secret)

    def token(self, transaction: str, organizations: Sequence[str] | None) -> str:
        """Return the token by which `transaction` sees `organizations`, None for all."""
        return self._secret.token(transaction, _seen(organizations))

    def admit(self, connection: Connection, organizations: Sequence[str] | None) -> None:
        """Let the transaction under way see `organizations`, None for all. Raises psycopg.Error."""
        self._admit(connection, _seen(organizations))

    def admit_user(self, connection: Connection, user: str) -> None:
        """Let the transaction under way see a user's memberships, and nothing else. Raises psycopg.Error."""
        self._admit(connection, {"user": user})

    def tokens(self, connection: Connection, audiences: Iterable[Sequence[str] | None]) -> list[str]:
        """Return a token for each, good in the transaction under way. Raises psycopg.Error."""
        transaction = _transaction(connection)
        return [self.token(transaction, organizations) for organizations in audiences]

    def _admit(self, connection: Connection, admitted: Mapping[str, object]) -> None:
        token = self._secret.token(_transaction(connection), admitted)
        # bound, so that pg_stat_activity does not show it
        connection.execute(blocks(_FILE)["admit"], {"token": token}, prepare=False)


def admitting(token: str) -> Statement:
    """Return the statement that lets a transaction see what the token admits."""
    return Statement(blocks(_FILE)["admit"], {"token": token})


def _transaction(connection: Connection) -> str:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return str(cursor.execute(blocks(_FILE)["transaction"], prepare=False).fetchall()[0][0])


def _seen(organizations: Sequence[str] | None) -> dict[str, object]:
    return {"organizations": None if organizations is None else list(organizations)}
