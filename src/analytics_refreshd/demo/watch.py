"""A demo whose server has ended is over: nobody else knows the server, so nobody would start it again."""

import os
import signal
import threading
from collections.abc import Callable

from analytics_refreshd.demo.interrupt import start_unsignalled

_EVERY_SECONDS = 1.0
_PATIENCE = 5
"""So many looks in a row: a visitor may restart the server to see what happens."""


class Watch:
    """Looks from `start` to `stop` whether the server is there; if not, tells `on_end` and stops the daemon."""

    def __init__(self, is_running: Callable[[], bool], on_end: Callable[[], None]) -> None:
        self._is_running = is_running
        self._on_end = on_end
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-watch", daemon=True)
        self.has_ended = False

    def start(self) -> None:
        """Begin to look."""
        start_unsignalled(self._thread)

    def stop(self) -> None:
        """Look no more: from here on the server may end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        missed = 0
        while missed < _PATIENCE:
            if self._stopping.wait(_EVERY_SECONDS):
                return
            missed = 0 if self._is_running() else missed + 1
        self.has_ended = True
        self._on_end()
        os.kill(os.getpid(), signal.SIGTERM)
