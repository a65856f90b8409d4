"""Bounds what keys that nobody has may cost."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from analytics_refreshd.api.access.lookup import FRESH_SECONDS, MOST_REMEMBERED
from analytics_refreshd.api.access.principal import AccessDenied
from analytics_refreshd.core.ports import Clock

BY_ADDRESS = 20
"""Unknown keys that are looked for in a minute, for one address."""
IN_ALL = 600
"""Unknown keys that are looked for in a minute, by one process."""
_WINDOW_SECONDS = 60.0


class UnknownKeys:
    """Remembers digests that no key has, and counts them. Callable from any thread.

    Each one looked for costs the database a question. A digest is remembered for as long as a key is, so that a new key
    is good as soon. With `by_address` each address has a limit of its own: without proxies that are trusted all clients
    may have the proxy's, and one of them could use it up for all.
    """

    def __init__(self, clock: Clock, *, by_address: bool, counted: Callable[[str], None] = lambda result: None) -> None:
        self._clock = clock
        self._by_address = by_address
        self._counted = counted
        self._lock = threading.Lock()
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        # cleared every minute, so that it never holds more addresses than lookups are let through
        self._failed: Counter[str] = Counter()
        self._began = float("-inf")

    def admit(self, digest: bytes, address: str) -> bool:
        """Return whether the digest may be looked for.

        False if it was, a moment ago. Raises AccessDenied (429).
        """
        now = self._clock.monotonic()
        with self._lock:
            if now - self._seen.get(digest, float("-inf")) < FRESH_SECONDS:
                result = "remembered"
            else:
                result = "limited" if self._over(address, now) else ""
            left = max(1, round(self._began + _WINDOW_SECONDS - now + 0.5)) if result == "limited" else 0
        if result:
            self._counted(result)
        if result == "limited":
            detail = f"too many API keys that are not known were tried: wait {left} s"
            raise AccessDenied(429, "rate_limited", detail, {"Retry-After": str(left)})
        return not result

    def add(self, digest: bytes, address: str) -> None:
        """Remember a digest that was looked for in vain."""
        now = self._clock.monotonic()
        with self._lock:
            self._over(address, now)
            self._failed.update([_network(address)])
            self._seen[digest] = now
            self._seen.move_to_end(digest)
            while len(self._seen) > MOST_REMEMBERED:
                self._seen.popitem(last=False)
        self._counted("unknown")

    def _over(self, address: str, now: float) -> bool:
        if now - self._began >= _WINDOW_SECONDS:
            self._failed.clear()
            self._began = now
        mine = self._failed[_network(address)] if self._by_address else 0
        return mine >= BY_ADDRESS or self._failed.total() >= IN_ALL


def _network(address: str) -> str:
    """Return what one client has: an IPv4 address, or 64 bits of an IPv6 address."""
    try:
        wide = ip_address(address).version == 6
    except ValueError:
        return ""
    return str(ip_network((address, 64), strict=False)) if wide else address
