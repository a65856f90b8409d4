"""Counts requests: so many an hour by plan, fewer in a minute, so many at once."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

from analytics_refreshd.api.access.principal import AccessDenied, Principal
from analytics_refreshd.api.access.windows import MemoryWindows
from analytics_refreshd.core.access import DEFAULT_PLAN

PER_HOUR: Mapping[str, int] = {"free": 50, "starter": 100, "pro": 500, "enterprise": 2000}
DEAREST = 10
"""The most that one request counts for."""
MEMORY = "memory://"
"""The storage of who counts in the process's own memory."""
_HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class LimitRules:
    """How much is let through.

    `per_hour` is what a plan has in any hour, `burst` the share of it in any minute. `replicas` divide it, where each
    counts in its own memory. `storage` is MEMORY or a Redis URL. With `open_without_storage` requests are let
    through while the storage is away, else refused with 503.
    """

    per_hour: Mapping[str, int] = field(default_factory=lambda: dict(PER_HOUR))
    burst: float = 0.2
    replicas: int = 1
    storage: str = MEMORY
    open_without_storage: bool = True


class Limits:
    """Counts in a sliding hour and a sliding minute, by organization. Callable from any thread.

    Without one organization it is by key, without a key by address. `uncounted` is told of each request that could not
    be counted, and was admitted or refused.
    """

    def __init__(self, rules: LimitRules, uncounted: Callable[[str], None] = lambda result: None) -> None:
        self._rules = rules
        self._uncounted = uncounted
        self._window: MemoryWindows | MovingWindowRateLimiter = MemoryWindows()
        self.waits = rules.storage != MEMORY
        self._items = cache(self._of_plan)
        if rules.storage != MEMORY:
            # what the storage raises is one class then
            self._window = MovingWindowRateLimiter(storage_from_string(rules.storage, wrap_exceptions=True))

    def count(self, principal: Principal, address: str, cost: int) -> Mapping[str, str]:
        """Count a request; return the headers that tell what is left.

        Raises AccessDenied: 429 if nothing is left, 503 without the storage if configured so.
        """
        hour, minute = self._items(principal.plan)
        who = counted_by(principal, address)
        try:
            # a burst that is refused costs nothing of the hour
            if not self._window.hit(minute, who, cost=cost):
                raise self._refused(minute, hour, who)
            if not self._window.hit(hour, who, cost=cost):
                raise self._refused(hour, hour, who)
            return self._headers(hour, minute, who)
        except StorageError as error:
            self._uncounted("admitted" if self._rules.open_without_storage else "refused")
            if self._rules.open_without_storage:
                return {}
            detail = "requests cannot be counted now, and none is let through without"
            raise AccessDenied(503, "service_unavailable", detail, {"Retry-After": "5"}) from error

    def _of_plan(self, plan: str) -> tuple[RateLimitItem, RateLimitItem]:
        rules = self._rules
        hour = max(1, rules.per_hour.get(plan, rules.per_hour[DEFAULT_PLAN]) // rules.replicas)
        burst = min(hour, max(DEAREST, round(hour * rules.burst)))
        return RateLimitItemPerHour(hour, namespace=f"hour:{plan}"), RateLimitItemPerMinute(
            burst, namespace=f"burst:{plan}"
        )

    def _refused(self, over: RateLimitItem, hour: RateLimitItem, who: str) -> AccessDenied:
        seconds = self._seconds_to_reset(over, who)
        within = "this hour" if over is hour else "this minute"
        headers = {**self._headers(hour, over, who), "Retry-After": str(seconds)}
        return AccessDenied(429, "rate_limited", f"all {over.amount:,} of {within} are used: wait {seconds} s", headers)

    def _headers(self, hour: RateLimitItem, minute: RateLimitItem, who: str) -> dict[str, str]:
        left = self._window.get_window_stats(hour, who)
        now = time.time()
        seconds = _seconds(left.reset_time - now)
        return {
            "X-RateLimit-Limit": str(hour.amount),
            "X-RateLimit-Remaining": str(max(0, left.remaining)),
            "X-RateLimit-Reset": str(int(now) + seconds),
            "X-RateLimit-Window": str(_HOUR_SECONDS),
            "RateLimit-Policy": f'"hour";q={hour.amount};w={_HOUR_SECONDS}',
            "RateLimit": f'"hour";r={max(0, left.remaining)};t={seconds}',
        }

    def _seconds_to_reset(self, item: RateLimitItem, who: str) -> int:
        return _seconds(self._window.get_window_stats(item, who).reset_time - time.time())


def _seconds(left: float) -> int:
    return max(1, round(left + 0.5))


def counted_by(principal: Principal, address: str) -> str:
    """Return whose budget a request uses."""
    if principal.organizations is not None and len(principal.organizations) == 1:
        return f"organization:{principal.organizations[0]}"
    return f"key:{principal.key_id}" if principal.key_id else f"address:{address}"


class ConcurrentQueries:
    """Lets so many queries of an organization run at once. Callable from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()

    @contextmanager
    def slot(self, principal: Principal, address: str) -> Iterator[None]:
        """Hold a place while a query runs. Raises AccessDenied (429) if none is free."""
        who = counted_by(principal, address)
        with self._lock:
            if self._running[who] >= self._most:
                detail = f"{self._most} queries of yours run already: wait until one has ended"
                raise AccessDenied(429, "rate_limited", detail, {"Retry-After": "1"})
            self._running[who] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[who] -= 1
                if not self._running[who]:
                    del self._running[who]
