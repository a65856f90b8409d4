"""One refresh from a terminal: who watches its locks, on a session that only one thread may use."""

import threading
from collections.abc import Sequence

import pytest

from analytics_refreshd.app.commands import refresh as once
from analytics_refreshd.app.commands.refresh import _Watcher
from analytics_refreshd.app.election import LockWatch
from analytics_refreshd.core.leadership import LockReading
from analytics_refreshd.core.model import LeaderInfo, LockSample
from analytics_refreshd.core.ports import Leader


class SlowLeader(Leader):
    """A leader's session whose every call waits until `free`; `most` is how many threads were in it at once."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.entered, self.free = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def acquire(self) -> LockReading:
        self._call()
        return LockReading(0.0, True)

    def heartbeat(self) -> LockReading:
        return self.acquire()

    def watch(self, pids: Sequence[int], views: Sequence[str], at_seconds: float) -> LockSample:
        self._call()
        return LockSample(at_seconds, frozenset())

    def other_holder(self) -> LeaderInfo | None:
        self._call()
        return None

    def release(self) -> None:
        self._call()

    def _call(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.set()
        assert self.free.wait(10)
        with self._lock:
            self.inside -= 1


class CountedWatch(LockWatch):
    """A lock watch that counts its looks, one a millisecond."""

    def __init__(self) -> None:
        self.looks = 0

    def look(self, leader: Leader) -> None:
        leader.watch((), (), 0.0)
        self.looks += 1

    def pause_seconds(self) -> float:
        return 0.001


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowLeader:
    """A session that answers late, and a watcher that soon stops to wait for it."""
    monkeypatch.setattr(once, "_JOIN_SECONDS", 0.05)
    return SlowLeader()


def test_a_watch_that_hangs_is_not_joined_by_another(slow: SlowLeader) -> None:
    """While a thread still connects the next attempt goes unwatched, and nobody closes the session under it."""
    watcher, watch = _Watcher(slow), CountedWatch()
    for _ in range(3):
        watcher.begin(watch)
        assert slow.entered.wait(10)
        watcher.end()
    releasing = threading.Thread(target=watcher.release)
    releasing.start()
    releasing.join(10)
    assert not releasing.is_alive()
    assert slow.most == 1
    # told to end, it looks no second time, whatever began meanwhile
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "watch"]
    slow.free.set()
    thread.join(10)
    assert not thread.is_alive()
    assert watch.looks == 1


def test_each_attempt_is_watched_and_the_session_closed(slow: SlowLeader) -> None:
    """A thread that ended makes room for the next attempt's, and for the end."""
    slow.free.set()
    watcher, watch = _Watcher(slow), CountedWatch()
    for count in (1, 2):
        slow.entered.clear()
        watcher.begin(watch)
        watcher.begin(watch)
        assert slow.entered.wait(10), count
        watcher.end()
    slow.entered.clear()
    watcher.release()
    assert slow.entered.is_set()
    assert slow.most == 1
