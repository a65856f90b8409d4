"""Sliding windows in memory: as the library counts, without a thread, and nothing is kept of what is over."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute

from analytics_refreshd.api.access.windows import MemoryWindows

TEN = RateLimitItemPerMinute(10, namespace="t")


class Now:
    """A time that passes when told."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 10)), max_size=60))
def test_no_minute_has_more_than_ten(steps: list[tuple[float, int]]) -> None:
    """A hit is counted where its minute has room, give or take one step; what is left is told."""
    now, windows, taken = Now(), MemoryWindows(), list[tuple[float, int]]()
    windows._now = now
    for passes, cost in steps:
        now.at += passes
        used = sum(size for at, size in taken if at > now.at - 60)
        surely = sum(size for at, size in taken if at > now.at - 60.02)
        counted = windows.hit(TEN, "acme", cost)
        assert not counted or used + cost <= 10
        assert counted or surely + cost > 10
        taken += [(now.at, cost)] if counted else []
        left = windows.get_window_stats(TEN, "acme")
        assert 0 <= left.remaining <= 10 - sum(size for at, size in taken if at > now.at - 60)


def test_it_says_when_there_is_room_again() -> None:
    """When the oldest hit is a minute old, and not before."""
    now = Now()
    windows = MemoryWindows(now)
    assert windows.get_window_stats(TEN, "acme") == (now.at, 10)
    assert windows.hit(TEN, "acme", 10)
    reset = windows.get_window_stats(TEN, "acme").reset_time
    assert now.at + 60 < reset <= now.at + 60.02
    now.at = reset - 0.01
    assert not windows.hit(TEN, "acme")
    assert windows.hit(TEN, "bolt")
    now.at = reset
    assert windows.hit(TEN, "acme")


def test_memory_has_a_limit() -> None:
    """Hits of one moment are one entry, and who has not come for a minute is forgotten; no thread is started."""
    now, threads = Now(), threading.active_count()
    windows = MemoryWindows(now)
    many = RateLimitItemPerMinute(1_000_000)
    for _ in range(1000):
        assert windows.hit(many, "acme")
    ((window, _),) = windows._windows.values()
    assert (len(window.steps), window.count) == (1, 1000)
    for number in range(100):
        windows.hit(TEN, f"organization {number}")
    now.at += 61
    windows.hit(TEN, "acme")
    assert [who for _, _, who in windows._windows] == ["acme"]
    assert threading.active_count() == threads


@pytest.mark.parametrize("cost", [1, 3])
def test_a_refused_hit_costs_nothing(cost: int) -> None:
    """What remains can still be used."""
    windows = MemoryWindows(Now())
    assert windows.hit(TEN, "acme", 8)
    assert windows.hit(TEN, "acme", cost) is (cost == 1)
    assert windows.get_window_stats(TEN, "acme").remaining == (1 if cost == 1 else 2)
