"""Compute the slots to refresh at, on the wall clock in UTC.

A slot is a multiple of the interval since the Unix epoch, plus the daemon's fixed offset. So all replicas, and a
restarted daemon, have the same slots without communication.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def splay_offset(name: str, splay: timedelta) -> timedelta:
    """Return the fixed part of `splay` that delays the daemon `name`."""
    if splay <= timedelta(0):
        return timedelta(0)
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return timedelta(milliseconds=int(splay / timedelta(milliseconds=1) * share))


def slot_at(moment: datetime, interval: timedelta, offset: timedelta = timedelta(0)) -> datetime:
    """Return the last slot at or before the aware `moment`.

    It is in UTC, so summer time changes nothing.
    """
    elapsed = moment - _EPOCH
    return _EPOCH + elapsed - (elapsed - offset) % interval


def next_slot(moment: datetime, interval: timedelta, offset: timedelta = timedelta(0)) -> datetime:
    """Return the first slot after `moment`."""
    return slot_at(moment, interval, offset) + interval


def due_at_start(ages_seconds: Iterable[float | None], interval: timedelta) -> bool:
    """Return whether a view's age is unknown or over one interval.

    If so, the daemon refreshes at once when it starts.
    """
    return any(age is None or age > interval.total_seconds() for age in ages_seconds)


def clock_step(wall_elapsed: timedelta, monotonic_elapsed: timedelta) -> timedelta:
    """Return how far the wall clock jumped; positive is forward."""
    return wall_elapsed - monotonic_elapsed
