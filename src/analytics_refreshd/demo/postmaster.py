"""Find, stop and watch the process of the demo's PostgreSQL."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from analytics_refreshd.demo.background import BackgroundThread

_STOP_SECONDS = 30.0
_WATCH_EVERY_SECONDS = 1.0
_MISSED_CHECKS = 5
"""The server has ended after this many failed checks in a row. A visitor may restart it, to see what happens."""


def postmaster_pid(data: Path) -> int | None:
    """Return the pid of the live server on `data`.

    None if there is none, even if its old number belongs to another process by now.
    """
    import psutil

    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        process = psutil.Process(pid)
        is_server = process.name() == "postgres" and Path(process.cwd()) == data.resolve()
        return pid if is_server and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def stop_postmaster(data: Path, *, immediately: bool) -> None:
    """Stop the server on `data`, if one runs.

    `immediately` is for data that are thrown away; otherwise the server shuts down cleanly.
    """
    kinds = [signal.SIGQUIT, signal.SIGKILL] if immediately else [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]
    for kind in kinds:
        pid = postmaster_pid(data)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, kind)
            os.kill(pid, signal.SIGCONT)
        _wait_until(lambda: postmaster_pid(data) is None, _STOP_SECONDS)


def _wait_until(is_done: Callable[[], bool], seconds: float) -> None:
    tick = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if is_done():
            return
        tick.wait(0.02)


class Watch(BackgroundThread):
    """Stop the daemon when the demo's server has ended.

    Only the demo knows this server, so no one would start it again. `on_end` is called before the daemon is stopped.
    Call `stop` before the server may end.
    """

    def __init__(self, is_running: Callable[[], bool], on_end: Callable[[], None]) -> None:
        super().__init__("demo-watch")
        self._is_running = is_running
        self._on_end = on_end
        self.has_ended = False

    def _run(self) -> None:
        missed = 0
        while missed < _MISSED_CHECKS:
            if self._stopping.wait(_WATCH_EVERY_SECONDS):
                return
            missed = 0 if self._is_running() else missed + 1
        self.has_ended = True
        self._on_end()
        os.kill(os.getpid(), signal.SIGTERM)
