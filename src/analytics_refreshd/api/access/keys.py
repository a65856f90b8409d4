"""Admits requests by their API key."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from analytics_refreshd.api.access.lookup import MOST_REMEMBERED, Lookup
from analytics_refreshd.api.access.principal import AccessDenied, Admission, Principal
from analytics_refreshd.api.access.requests import asked_organization, unauthorized, values
from analytics_refreshd.api.access.unknown import UnknownKeys
from analytics_refreshd.core.access import DEFAULT_PLAN, PLATFORM_PLAN, ApiKey, KeyState, key_digest, visible
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.ports import Clock

_USE_SECONDS = 60.0


class KeyStore(Protocol):
    """Where keys are. Every method raises DatabaseFault."""

    def find(self, digest: bytes) -> ApiKey | None:
        """Return the key of this SHA-256."""

    def note_use(self, digest: bytes) -> None:
        """Note that it was used now."""


class KeyGate:
    """Admits by `X-API-Key`. A key is read from the store at most every ten seconds.

    While the database cannot be reached, keys that were read in the last five minutes hold.
    """

    def __init__(self, store: KeyStore, clock: Clock, unknown: UnknownKeys | None = None) -> None:
        self._store = store
        self._clock = clock
        self._unknown = unknown or UnknownKeys(clock, by_address=False)
        # what nobody has would push out what somebody has
        self._keys: Lookup[bytes, ApiKey | None] = Lookup(store.find, clock, worth=lambda key: key is not None)
        self._lock = threading.Lock()
        self._used: OrderedDict[bytes, float] = OrderedDict()

    def admit(self, headers: Mapping[str, str], organization_id: str | None, address: str, cost: int) -> Admission:
        """Return who asks. Raises AccessDenied."""
        digest = _digest(headers)
        admission = self._admission(self._key(digest, address), headers, organization_id)
        self._note_use(digest)
        return admission

    def admit_remembered(self, headers: Mapping[str, str], organization_id: str | None) -> Admission | None:
        """Return who asks, as `admit` does. None if that could wait for the database."""
        digest = _digest(headers)
        key = self._keys.fresh(digest)
        if key is None or self._notes(digest):
            return None
        return self._admission(key, headers, organization_id)

    def _admission(self, key: ApiKey, headers: Mapping[str, str], organization_id: str | None) -> Admission:
        state = key.state(self._clock.now())
        if state is not KeyState.ACTIVE:
            raise unauthorized(f"this API key is {state}")
        organizations = _visible(key, asked_organization(headers, organization_id))
        plan = key.plan or (PLATFORM_PLAN if key.organizations is None else DEFAULT_PLAN)
        return Admission(Principal(key.key_id, organizations, key.role, plan, key.operator))

    def _key(self, digest: bytes, address: str) -> ApiKey:
        """Return the key of this SHA-256.

        One that was found before is looked for whatever others try. Raises AccessDenied.
        """
        if self._keys.knows(digest) or self._unknown.admit(digest, address):
            key = self._keys.get(digest)
            if key is not None:
                return key
            self._unknown.add(digest, address)
        raise unauthorized("this API key is not known")

    def admit_person(self, headers: Mapping[str, str], address: str) -> Admission:
        """Return who asks, whatever organizations it sees. Raises AccessDenied."""
        return self.admit(headers, None, address, 1)

    def _notes(self, digest: bytes) -> bool:
        """Whether a use of the key is to be noted now."""
        used = self._used.get(digest, float("-inf"))
        return self._clock.monotonic() - used >= _USE_SECONDS and not self._keys.away

    def _note_use(self, digest: bytes) -> None:
        """Note the use of a key, once a minute. A database that cannot write refuses no request."""
        with self._lock:
            if not self._notes(digest):
                return
            self._used[digest] = self._clock.monotonic()
            self._used.move_to_end(digest)
            while len(self._used) > MOST_REMEMBERED:
                self._used.popitem(last=False)
        with suppress(DatabaseFault):
            self._store.note_use(digest)


def _digest(headers: Mapping[str, str]) -> bytes:
    """Return the SHA-256 of the key that a request bears. Raises AccessDenied."""
    given = values(headers, "x-api-key")
    if not given:
        raise unauthorized("send an API key in the header X-API-Key")
    digest = key_digest(given[0]) if len(given) == 1 else None
    if digest is None:
        raise unauthorized("the header X-API-Key holds no API key: it is rfd_ and 43 characters, once")
    return digest


def _visible(key: ApiKey, asked: str | None) -> tuple[str, ...] | None:
    try:
        return visible(key.organizations, asked)
    except ValueError:
        raise AccessDenied(
            403, "forbidden", "this API key is not for the organization that the request names"
        ) from None
