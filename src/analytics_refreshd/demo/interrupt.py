"""Ctrl-C, SIGTERM and a closed terminal, taken only where it is safe to be interrupted."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Holds signals back while it is entered, but inside `allowed`, where one raises KeyboardInterrupt, once.

    A signal in the middle of starting the server or of removing it would leave half of it behind. To be used
    in the main thread.
    """

    def __init__(self) -> None:
        self._is_allowed = False
        self._is_pending = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a signal raise KeyboardInterrupt in here; one that came before raises it at once."""
        self._is_allowed = True
        try:
            if self._is_pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_allowed = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._is_pending = True
        if self._is_allowed:
            self._is_allowed = False
            raise KeyboardInterrupt


def start_unsignalled(thread: threading.Thread) -> None:
    """Start `thread`; signals stay with the main thread, for one that another took would not wake the daemon."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
