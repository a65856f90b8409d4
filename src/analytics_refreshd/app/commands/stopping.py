"""Listens for SIGTERM and SIGINT while a command runs."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_stop(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in its own thread at each of these signals.

    The thread that a signal interrupts may hold a lock that `act` waits for.
    """

    def start(*_: object) -> None:
        threading.Thread(target=act, name="stop", daemon=True).start()

    before = {number: signal.signal(number, start) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
