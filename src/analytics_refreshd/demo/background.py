"""Run work in a thread beside the daemon."""

import signal
import threading
from abc import ABC, abstractmethod

_STOP_SECONDS = 5.0


class BackgroundThread(ABC):
    """Run `_run` in a thread from `start` to `stop`.

    `_run` returns soon after `_stopping` is set. Signals stay with the main thread: one that another thread received
    would not wake the daemon.
    """

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def stop(self) -> None:
        """Stop the thread, and wait for it up to five seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_STOP_SECONDS)

    @abstractmethod
    def _run(self) -> None:
        """Do the work."""
