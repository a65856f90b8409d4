"""Collect the API's requests that failed."""

from collections import Counter
from datetime import datetime

from analytics_refreshd.incident.fields import Fields, count_of, text_of
from analytics_refreshd.incident.model import LIMIT, FailedRequests

_ERROR = 500
_BEYOND = "other"


class Requests:
    """Count answers of 500 and above, in bounded memory. Lines come in the order of time."""

    def __init__(self) -> None:
        self._first_at: datetime | None = None
        self._last_at: datetime | None = None
        self._codes: Counter[str] = Counter()
        self._endpoints: Counter[str] = Counter()

    def add(self, at: datetime, fields: Fields) -> None:
        """Count an answer, if it failed."""
        status = count_of(fields, "status")
        if status is None or status < _ERROR:
            return
        self._seen(at, at)
        _count(self._codes, text_of(fields, "code") or str(status), 1)
        _count(self._endpoints, text_of(fields, "endpoint") or _BEYOND, 1)

    def take(self, later: "Requests") -> None:
        """Add what was recorded after these."""
        if later._first_at is None or later._last_at is None:
            return
        self._seen(later._first_at, later._last_at)
        for mine, others in ((self._codes, later._codes), (self._endpoints, later._endpoints)):
            for name, number in others.items():
                _count(mine, name, number)

    @property
    def found(self) -> FailedRequests | None:
        """Return what was counted. None: nothing failed."""
        if self._first_at is None or self._last_at is None:
            return None
        codes, endpoints = (dict(counter.most_common()) for counter in (self._codes, self._endpoints))
        return FailedRequests(self._codes.total(), codes, endpoints, self._first_at, self._last_at)

    def _seen(self, first_at: datetime, last_at: datetime) -> None:
        self._first_at = first_at if self._first_at is None else min(self._first_at, first_at)
        self._last_at = last_at if self._last_at is None else max(self._last_at, last_at)


def _count(counter: Counter[str], name: str, number: int) -> None:
    counter[name if name in counter or len(counter) < LIMIT else _BEYOND] += number
