"""Run this program as a child that ends with the demo.

It does so also where the demo is killed.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_STOP_SECONDS = 12.0
_PROGRAM = """
import os, runpy, signal, sys, threading
def follow():
    # the demo holds the other end, also where it is killed
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=follow, daemon=True).start()
sys.argv[0] = "analytics-refreshd"
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""


class FollowingProcess:
    """A child process of this program: its command line, or another `module` of it."""

    module = "analytics_refreshd"

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def begin(self, *arguments: str, log: Path | None = None) -> None:
        """Start it. Its standard error is appended to `log`, by default it goes where ours does."""
        ours, self._pipe = os.pipe()
        if log:
            log.touch(0o600)
        errors = log.open("ab") if log else None
        try:
            # a session of its own: Ctrl-C comes to the demo, which stops it
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", _PROGRAM, self.module, *arguments],
                stdin=ours,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        finally:
            os.close(ours)
            if errors:
                errors.close()

    def is_running(self) -> bool:
        """Return whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill it with SIGKILL. Harmless before the start."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def ask_to_stop(self) -> None:
        """Let it stop by itself, without waiting for that. Harmless twice."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def stop(self) -> None:
        """End it. Harmless twice, and before the start."""
        self.ask_to_stop()
        if self._process is None:
            return
        process, self._process = self._process, None
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        process.kill()
        process.wait()
