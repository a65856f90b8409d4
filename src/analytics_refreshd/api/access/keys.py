"""Admits requests by their API key."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from analytics_refreshd.api.access.principal import AccessDenied, Admission, Principal
from analytics_refreshd.core.access import DEFAULT_PLAN, ApiKey, KeyState, key_digest, visible
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.ports import Clock

FRESH_SECONDS = 10.0
"""How long a key that was read is taken as it was: a revocation is seen after that."""
OUTAGE_SECONDS = 300.0
"""How long it is taken so while the database cannot be reached."""
_RETRY_SECONDS = 1.0
_USE_SECONDS = 60.0
_MOST_REMEMBERED = 10_000
_LONGEST_ORGANIZATION = 1000
_CHALLENGE = {"WWW-Authenticate": 'ApiKey realm="analytics"'}


class KeyStore(Protocol):
    """Where keys are. Every method raises DatabaseFault."""

    def find(self, digest: bytes) -> ApiKey | None:
        """Return the key of this SHA-256."""

    def note_use(self, digest: bytes) -> None:
        """Note that it was used now."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    key: ApiKey | None
    read_at: float


class KeyGate:
    """Admits by `X-API-Key`. Keys are read from the store at most every ten seconds each.

    While the database cannot be reached, keys that were read in the last five minutes hold.
    """

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._used: dict[bytes, float] = {}
        self._away_until = float("-inf")

    def admit(self, headers: Mapping[str, str], organization_id: str | None, address: str, cost: int) -> Admission:
        """Return who asks. Raises AccessDenied."""
        given = _values(headers, "x-api-key")
        if not given:
            raise _unauthorized("send an API key in the header X-API-Key")
        digest = key_digest(given[0]) if len(given) == 1 else None
        if digest is None:
            raise _unauthorized("the header X-API-Key holds no API key: it is rfd_ and 43 characters, once")
        key = self._key(digest)
        state = key.state(self._clock.now()) if key is not None else None
        if key is None or state is None:
            raise _unauthorized("this API key is not known")
        if state is not KeyState.ACTIVE:
            raise _unauthorized(f"this API key is {state}")
        organizations = _visible(key, _asked(headers, organization_id))
        self._note_use(digest)
        return Admission(Principal(key.key_id, organizations, key.role, key.plan or DEFAULT_PLAN, key.operator))

    def _key(self, digest: bytes) -> ApiKey | None:
        now = self._clock.monotonic()
        with self._lock:
            known = self._remembered.get(digest)
            away = now < self._away_until
        if known is not None and (now - known.read_at < FRESH_SECONDS):
            return known.key
        if not away:
            try:
                return self._read(digest, now)
            except DatabaseFault as fault:
                if not fault.error_class.away:
                    raise _unavailable() from fault
                with self._lock:
                    self._away_until = self._clock.monotonic() + _RETRY_SECONDS
        if known is not None and now - known.read_at < OUTAGE_SECONDS:
            return known.key
        raise _unavailable()

    def _read(self, digest: bytes, now: float) -> ApiKey | None:
        # dated before it is read: it is no older than that
        found = _Remembered(self._store.find(digest), now)
        with self._lock:
            self._remembered[digest] = found
            self._remembered.move_to_end(digest)
            while len(self._remembered) > _MOST_REMEMBERED:
                dropped, _ = self._remembered.popitem(last=False)
                self._used.pop(dropped, None)
        return found.key

    def _note_use(self, digest: bytes) -> None:
        """Note the use of a key, once a minute. A database that cannot write is nobody's trouble here."""
        now = self._clock.monotonic()
        with self._lock:
            if now - self._used.get(digest, float("-inf")) < _USE_SECONDS or now < self._away_until:
                return
            self._used[digest] = now
        with suppress(DatabaseFault):
            self._store.note_use(digest)


def _asked(headers: Mapping[str, str], parameter: str | None) -> str | None:
    """Return the organization that the request names, by header or parameter."""
    named = {*_values(headers, "x-organization-id"), *([parameter] if parameter is not None else [])}
    if len(named) > 1:
        raise AccessDenied(400, "bad_request", "the request names two organizations: X-Organization-ID and parameter")
    asked = named.pop() if named else None
    if asked is not None and (not asked or "\x00" in asked or len(asked) > _LONGEST_ORGANIZATION):
        raise AccessDenied(400, "bad_request", "the request names no organization id")
    return asked


def _visible(key: ApiKey, asked: str | None) -> tuple[str, ...] | None:
    try:
        return visible(key.organizations, asked)
    except ValueError:
        raise AccessDenied(403, "forbidden", "this API key is not for the organization that the request names") from None


def _values(headers: Mapping[str, str], name: str) -> list[str]:
    return [value for header, value in headers.items() if header.lower() == name]


def _unauthorized(detail: str) -> AccessDenied:
    return AccessDenied(401, "unauthorized", detail, _CHALLENGE)


def _unavailable() -> AccessDenied:
    return AccessDenied(503, "service_unavailable", "API keys cannot be checked now", {"Retry-After": "5"})
