"""Remembers what was read from the database."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from analytics_refreshd.api.access.principal import AccessDenied
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.ports import Clock

FRESH_SECONDS = 10.0
"""How long what was read is taken as it was: a revocation is seen after that."""
OUTAGE_SECONDS = 300.0
"""How long it is taken so while the database cannot be reached."""
MOST_REMEMBERED = 10_000
_RETRY_SECONDS = 1.0
_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Lookup(Generic[_Key, _Value]):
    """Reads values by key, each at most every ten seconds. Callable from any thread.

    Only what `worth` admits is remembered.
    """

    def __init__(
        self, read: Callable[[_Key], _Value], clock: Clock, worth: Callable[[_Value], bool] = lambda value: True
    ) -> None:
        self._read = read
        self._clock = clock
        self._worth = worth
        self._lock = threading.Lock()
        self._remembered: OrderedDict[_Key, tuple[_Value, float]] = OrderedDict()
        self._away_until = float("-inf")

    @property
    def away(self) -> bool:
        """Whether the database could not be reached just now."""
        with self._lock:
            return self._clock.monotonic() < self._away_until

    def knows(self, key: _Key) -> bool:
        """Whether the value is remembered, however old it is."""
        with self._lock:
            return key in self._remembered

    def fresh(self, key: _Key) -> _Value | None:
        """Return the value if it was read in the last ten seconds.

        The database is not asked.
        """
        with self._lock:
            known = self._remembered.get(key)
        return known[0] if known is not None and self._clock.monotonic() - known[1] < FRESH_SECONDS else None

    def get(self, key: _Key) -> _Value:
        """Return the value, as it was read in the last ten seconds.

        While the database cannot be reached, one of the last five minutes holds. Raises AccessDenied (503).
        """
        now = self._clock.monotonic()
        with self._lock:
            known = self._remembered.get(key)
            away = now < self._away_until
        if known is not None and now - known[1] < FRESH_SECONDS:
            return known[0]
        if not away:
            try:
                return self._keep(key, self._read(key), now)
            except DatabaseFault as fault:
                if not fault.error_class.away:
                    raise _lacking() if fault.error_class is ErrorClass.PERMANENT else unavailable() from fault
                with self._lock:
                    self._away_until = self._clock.monotonic() + _RETRY_SECONDS
        if known is not None and now - known[1] < OUTAGE_SECONDS:
            return known[0]
        raise unavailable()

    def _keep(self, key: _Key, value: _Value, read_at: float) -> _Value:
        """Remember a value. It is dated before it was read: it is no older than that."""
        with self._lock:
            if not self._worth(value):
                self._remembered.pop(key, None)
                return value
            self._remembered[key] = (value, read_at)
            self._remembered.move_to_end(key)
            while len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return value


def unavailable() -> AccessDenied:
    """Make the answer to who cannot be checked now."""
    detail = "who asks cannot be checked now: the database does not answer"
    return AccessDenied(503, "service_unavailable", detail, {"Retry-After": "5"})


def _lacking() -> AccessDenied:
    detail = (
        "who asks cannot be checked: the database lacks what that needs; its operator runs `analytics-refreshd check`"
    )
    return AccessDenied(503, "service_unavailable", detail, {"Retry-After": "5"})
