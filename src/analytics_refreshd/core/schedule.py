"""When to refresh: slots on the wall clock, as pure arithmetic on UTC datetimes.

A slot is a multiple of the interval since the Unix epoch, plus the daemon's own fixed offset, so that every
replica and every restart agrees on the slots without talking.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def splay_offset(name: str, splay: timedelta) -> timedelta:
    """The fixed part of `splay` by which the daemon called `name` runs late; zero when splay is zero."""
    if splay <= timedelta(0):
        return timedelta(0)
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return timedelta(milliseconds=int(splay / timedelta(milliseconds=1) * share))


def slot_at(moment: datetime, interval: timedelta, offset: timedelta = timedelta(0)) -> datetime:
    """The last slot at or before the aware `moment`, in UTC whatever its zone: summer time moves nothing."""
    elapsed = moment - _EPOCH
    return _EPOCH + elapsed - (elapsed - offset) % interval


def next_slot(moment: datetime, interval: timedelta, offset: timedelta = timedelta(0)) -> datetime:
    """The first slot strictly after `moment`."""
    return slot_at(moment, interval, offset) + interval


def due_at_start(ages_seconds: Iterable[float | None], interval: timedelta) -> bool:
    """Whether to refresh at once on start: some view's age is unknown or over one interval."""
    return any(age is None or age > interval.total_seconds() for age in ages_seconds)


def clock_step(wall_elapsed: timedelta, monotonic_elapsed: timedelta) -> timedelta:
    """By how much the wall clock moved beside the monotonic one; positive is forward."""
    return wall_elapsed - monotonic_elapsed
