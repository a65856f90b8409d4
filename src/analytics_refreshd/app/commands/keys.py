"""Makes, lists and revokes API keys, for the command line."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import connection_settings
from analytics_refreshd.core.access import KEY_PREFIX, ApiKey, KeyRequest, key_digest
from analytics_refreshd.core.errors import DatabaseFault, RefreshdError
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.tenants.keys import ApiKeys

_LONGEST_NAME = 200
_Value = TypeVar("_Value")


class KeyRequestError(RefreshdError):
    """A key cannot be made or revoked as asked. The text says why."""


def create(config: Config, wanted: KeyRequest) -> tuple[str, ApiKey]:
    """Make a key, and store its hash. The key itself is returned, and kept nowhere.

    Raises KeyRequestError for what cannot be, and DatabaseFault.
    """
    if not wanted.name.strip() or len(wanted.name) > _LONGEST_NAME or not wanted.name.isprintable():
        raise KeyRequestError(f"a key needs a name of at most {_LONGEST_NAME} printable characters: whose, or what for")
    if wanted.expires_at is not None and wanted.expires_at <= datetime.now(UTC):
        raise KeyRequestError("--expires is in the past")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    digest = key_digest(secret)
    assert digest is not None  # noqa: S101 - it is a key

    def work(keys: ApiKeys) -> ApiKey:
        unknown = keys.unknown(wanted.organizations or ())
        if unknown:
            raise KeyRequestError(f"there is no organization {printable(', '.join(unknown))[:200]}")
        return keys.create(f"key_{secrets.token_hex(6)}", digest, wanted)

    return secret, _with_keys(config, work)


def listed(config: Config) -> list[ApiKey]:
    """Return all keys, the oldest first. Raises DatabaseFault."""
    return _with_keys(config, ApiKeys.listed)


def revoke(config: Config, key_id: str) -> ApiKey:
    """Refuse a key from now on. Raises KeyRequestError if there is none of this id, and DatabaseFault."""
    found = _with_keys(config, lambda keys: keys.revoke(key_id))
    if found is None:
        raise KeyRequestError(
            f"there is no key {printable(key_id)[:80]}: `analytics-refreshd keys list` shows their ids"
        )
    return found


def _with_keys(config: Config, work: Callable[[ApiKeys], _Value]) -> _Value:
    session = Session(Connector(connection_settings(config)), label="keys")
    try:
        return work(ApiKeys(session))
    except DatabaseFault as fault:
        if fault.reason is not Reason.PERMISSION:
            raise
        raise fault.reworded(f"{fault.message}: run `keys` as the role that ran `migrate --tenants`") from fault
    finally:
        session.close()
