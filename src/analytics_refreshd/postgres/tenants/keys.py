"""Reads and writes API keys."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from psycopg.rows import class_row

from analytics_refreshd.core.access import ApiKey, KeyRequest
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from analytics_refreshd.postgres.catalogue.organizations import unknown_organizations
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.errors import contract_fault
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import refuse_untrusted, trusting

_SECONDS = 2.0


class ApiKeys:
    """The keys, as a role that owns them. Every method raises DatabaseFault."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, key_id: str, digest: bytes, wanted: KeyRequest) -> ApiKey:
        """Store a key by its SHA-256; return it as stored."""
        values: dict[str, object] = {
            "key_id": key_id,
            "key_hash": digest,
            "name": wanted.name,
            "organizations": None if wanted.organizations is None else list(wanted.organizations),
            "role": wanted.role,
            "plan": wanted.plan,
            "operator": wanted.operator,
            "expires_at": wanted.expires_at,
        }
        (stored,) = self._run("create", values)
        return stored

    def listed(self) -> list[ApiKey]:
        """Return all keys, the oldest first."""
        return self._run("list", {})

    def revoke(self, key_id: str) -> ApiKey | None:
        """Refuse a key from now on. None: there is none of this id."""
        found = self._run("revoke", {"key_id": key_id})
        return found[0] if found else None

    def unknown(self, organizations: Sequence[str]) -> list[str]:
        """Return those of `organizations` that do not exist."""
        schema = self._session.app_schema
        return self._session.run(lambda connection: unknown_organizations(connection, schema, organizations))

    def _run(self, name: str, values: dict[str, object]) -> list[ApiKey]:
        def work(connection: BoundedConnection) -> list[ApiKey]:
            refuse_untrusted(connection, self._session.app_schema)
            row = connection.execute(blocks("tenants/keys.sql")["installed"]).fetchone()
            if not row or not row[0]:
                raise DatabaseFault(
                    "this database has no API keys: `analytics-refreshd migrate --tenants` adds them",
                    error_class=ErrorClass.PERMANENT,
                    reason=Reason.UNDEFINED,
                )
            return _keys(connection, name, values)

        return self._session.run(work)


class KeyReader:
    """Finds single keys, as the role of the API. Every method raises DatabaseFault, within seconds."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, digest: bytes) -> ApiKey | None:
        """Return the key of this SHA-256, None if there is none."""

        def work(connection: BoundedConnection) -> list[ApiKey]:
            refuse_untrusted_tenants(connection, self._session.app_schema)
            return _keys(connection, "find", {"key_hash": digest})

        found = self._session.run(work, seconds=_SECONDS, wait_seconds=_SECONDS)
        return found[0] if found else None

    def note_use(self, digest: bytes) -> None:
        """Note that the key was used now. The database does so once a minute."""
        self._session.run(
            lambda connection: connection.execute(blocks("tenants/keys.sql")["note_use"], {"key_hash": digest}),
            seconds=_SECONDS,
            wait_seconds=_SECONDS,
        )


def refuse_untrusted_tenants(connection: BoundedConnection, app_schema: str) -> None:
    """Raise DatabaseFault of class contract if analytics_api is another role's."""
    row = connection.execute(trusting("tenants/keys.sql", "untrusted"), {"app_schema": app_schema}).fetchone()
    if row and row[0]:
        raise contract_fault("schema analytics_api belongs to a role that is not trusted: run `migrate --tenants`")


def refuse_missing_tenants(connection: BoundedConnection) -> None:
    """Raise DatabaseFault of class contract if analytics_api cannot be used."""
    if connection.execute(blocks("tenants/keys.sql")["serves"]).fetchall() != [(True,)]:
        raise contract_fault(
            "this database does not serve the API: run `migrate --tenants`, then deploy/sql/api.sql for the API's role"
        )


def _keys(connection: BoundedConnection, name: str, values: dict[str, object]) -> list[ApiKey]:
    with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        return [_read(key) for key in cursor.execute(blocks("tenants/keys.sql")[name], values).fetchall()]


def _read(key: ApiKey) -> ApiKey:
    return replace(
        key,
        organizations=None if key.organizations is None else tuple(key.organizations),
        created_at=key.created_at.astimezone(UTC),
        expires_at=_utc(key.expires_at),
        revoked_at=_utc(key.revoked_at),
        last_used_at=_utc(key.last_used_at),
    )


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC)
