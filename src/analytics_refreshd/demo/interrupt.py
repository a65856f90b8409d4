"""Handle Ctrl-C, SIGTERM and a closed terminal only where it is safe."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Hold signals back, except inside `allowed`.

    There the first signal raises KeyboardInterrupt. A signal while the server is being started or removed would leave
    half of it behind. Use it in the main thread.
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
        """Let a signal raise KeyboardInterrupt in this block.

        A signal that was held back raises it at once.
        """
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
