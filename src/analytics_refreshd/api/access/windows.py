"""Counts hits in sliding windows, in this process's memory."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from limits import RateLimitItem, WindowStats

_STEPS = 10_000
"""Into how many steps a window is divided. Hits of one step expire together, so memory has a limit."""
_Key = tuple[str, int, str]


@dataclass(slots=True)
class _Window:
    """Hits by step, the newest last: when the step ends, and how many."""

    steps: deque[tuple[float, int]] = field(default_factory=deque)
    count: int = 0


class MemoryWindows:
    """Counts for one process, with the methods of the library's limiter. Callable from any thread.

    The library's own memory starts a thread for nearly every hit, which forgets old ones: at a hundred hits a second
    that took half a millisecond of CPU time each, as long as all the rest of a short answer.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._windows: OrderedDict[_Key, tuple[_Window, float]] = OrderedDict()

    def hit(self, item: RateLimitItem, who: str, cost: int = 1) -> bool:
        """Count a hit. False, and nothing is counted, if it would be one too many."""
        seconds = float(item.get_expiry())
        now = self._now()
        with self._lock:
            window = self._window(item, who, now)
            if window is None:
                window = _Window()
            if window.count + cost > item.amount:
                return False
            step = seconds / _STEPS
            ends = (now // step + 1) * step
            if window.steps and window.steps[-1][0] >= ends:
                ends, before = window.steps.pop()
                window.steps.append((ends, before + cost))
            else:
                window.steps.append((ends, cost))
            window.count += cost
            self._windows[_key(item, who)] = (window, ends + seconds)
            self._windows.move_to_end(_key(item, who))
            self._forget(now)
        return True

    def get_window_stats(self, item: RateLimitItem, who: str) -> WindowStats:
        """Return how many hits are left, and when the oldest one expires."""
        now = self._now()
        with self._lock:
            window = self._window(item, who, now)
            if window is None or not window.steps:
                return WindowStats(now, item.amount)
            return WindowStats(window.steps[0][0] + item.get_expiry(), item.amount - window.count)

    def _window(self, item: RateLimitItem, who: str, now: float) -> _Window | None:
        """Return the window, without what has expired."""
        found = self._windows.get(_key(item, who))
        if found is None:
            return None
        window, seconds = found[0], item.get_expiry()
        while window.steps and window.steps[0][0] + seconds <= now:
            window.count -= window.steps.popleft()[1]
        return window

    def _forget(self, now: float) -> None:
        """Drop windows in which nothing is left. Those that were hit last are looked at last."""
        while self._windows:
            key, (_window, until) = next(iter(self._windows.items()))
            if until > now:
                break
            del self._windows[key]


def _key(item: RateLimitItem, who: str) -> _Key:
    return (item.namespace, item.amount, who)
