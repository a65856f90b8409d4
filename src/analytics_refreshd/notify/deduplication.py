"""Remembers what each receiver accepted. It is in the database, so that a new leader sends nothing twice."""

import logging
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.ports import Clock, DeliveryRecord, DeliveryStore
from analytics_refreshd.core.retry import worth_waiting
from analytics_refreshd.notify.planning import Delivered

_logger = logging.getLogger(__name__)
_KEPT = timedelta(days=30)
_SAVE_AGAIN_SECONDS = 30.0


class DeliveryCache:
    """Cache the delivery store for all receivers' threads. If the store fails, the cache alone decides."""

    def __init__(self, store: DeliveryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._sent: dict[str, dict[tuple[str, str], datetime]] = {}
        self._unsaved: dict[tuple[str, str, str], DeliveryRecord] = {}
        self._save_from = 0.0
        self._unread_since: float | None = None
        self._wanted = 1
        self._loaded = 0

    @property
    def ready(self) -> bool:
        """Whether the store was read since `invalidate`, or cannot be read."""
        return self._loaded >= self._wanted

    def invalidate(self) -> None:
        """Read the store before the next plan. Another replica may have delivered meanwhile."""
        with self._lock:
            self._wanted += 1

    def load(self) -> None:
        """Read the store, once for all threads that wait. If that fails, keep the cache as it is."""
        with self._storing:
            if self.ready:
                return
            wanted = self._wanted
            try:
                records = self._store.load()
            except DatabaseFault as fault:
                if not self._give_up(fault):
                    return
                records = []
            except Exception as error:  # a defect; what was delivered before is unknown, and may go out twice
                _logger.error("what was delivered cannot be read: %s", type(error).__name__)
                records = []
            else:
                self._unread_since = None
            with self._lock:
                for record in records:
                    known = self._sent.setdefault(record.receiver, {})
                    pair = (record.alert_key, record.status)
                    known[pair] = max(record.sent_at, known.get(pair, record.sent_at))
                self._loaded = wanted

    def _give_up(self, fault: DatabaseFault) -> bool:
        now = self._clock.monotonic()
        if self._unread_since is None or fault.error_class.away:
            self._unread_since = now
        return not worth_waiting(fault.error_class, waited_seconds=now - self._unread_since)

    def delivered(self, receiver: str) -> Delivered:
        """Return when `receiver` last accepted each status."""
        with self._lock:
            return dict(self._sent.get(receiver, {}))

    def record(self, receiver: str, pairs: Iterable[tuple[str, str]]) -> None:
        """Record and save that `receiver` accepted these alert keys and statuses."""
        now = self._clock.now()
        with self._lock:
            known = self._sent.setdefault(receiver, {})
            for key, status in pairs:
                known[key, status] = now
                self._unsaved[receiver, key, status] = DeliveryRecord(receiver, key, status, now)
            for pair in [pair for pair, sent_at in known.items() if now - sent_at > _KEPT]:
                del known[pair]
        self.save()

    def save(self) -> None:
        """Write what is not in the store yet. After a failure wait half a minute."""
        with self._storing:
            with self._lock:
                unsaved = dict(self._unsaved)
            if not unsaved or self._clock.monotonic() < self._save_from:
                return
            try:
                self._store.save(list(unsaved.values()))
            except Exception as error:  # what cannot be stored was delivered all the same
                if not isinstance(error, DatabaseFault):
                    _logger.error("what was delivered cannot be stored: %s", type(error).__name__)
                self._save_from = self._clock.monotonic() + _SAVE_AGAIN_SECONDS
                return
            with self._lock:
                for place, record in unsaved.items():
                    if self._unsaved.get(place) == record:
                        del self._unsaved[place]
