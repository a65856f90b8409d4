"""One refresh from a terminal: who watches its locks, on a session that only one thread may use."""

import threading
from typing import Any

import pytest

from analytics_refreshd.app.commands import refresh as once
from analytics_refreshd.app.commands.refresh import _Watcher


class Slow:
    """A leader's session whose every call waits until `free`; `most` is how many threads were in it at once."""

    def __init__(self) -> None:
        self.inside = self.most = self.looks = 0
        self.entered, self.free = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def call(self) -> None:
        """Whatever a thread does on the session."""
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.set()
        assert self.free.wait(10)
        with self._lock:
            self.inside -= 1

    def look(self, leader: "Slow") -> None:
        """As a lock watch's: one sample."""
        leader.call()
        leader.looks += 1

    release = call

    def pause_seconds(self) -> float:
        """As a lock watch's."""
        return 0.001


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A session that answers late, and a watcher that soon stops to wait for it."""
    monkeypatch.setattr(once, "_JOIN_SECONDS", 0.05)
    return Slow()


def test_a_watch_that_hangs_is_not_joined_by_another(slow: Any) -> None:
    """While a thread still connects the next attempt goes unwatched, and nobody closes the session under it."""
    watcher = _Watcher(slow)
    for _ in range(3):
        watcher.begin(slow)
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
    assert slow.looks == 1


def test_each_attempt_is_watched_and_the_session_closed(slow: Any) -> None:
    """A thread that ended makes room for the next attempt's, and for the end."""
    slow.free.set()
    watcher = _Watcher(slow)
    for count in (1, 2):
        slow.entered.clear()
        watcher.begin(slow)
        watcher.begin(slow)
        assert slow.entered.wait(10), count
        watcher.end()
    slow.entered.clear()
    watcher.release()
    assert slow.entered.is_set()
    assert slow.most == 1
