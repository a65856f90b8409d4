"""Running `analytics-refreshd demo` as a user would: another process, watched through what it prints."""

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tests.support import warm
from tests.support.waiting import eventually

COMMAND = (sys.executable, "-m", "analytics_refreshd", "demo")


class RunningDemo:
    """A demo in another process, with its temporary folder below `folder`; `stop` ends and collects it."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        given = os.environ | {"TMPDIR": str(folder)} | (environment or {})
        self.process = warm.start(["demo", *options], given, output=True)
        self.output: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=lines.extend, args=(stream,), daemon=True)
            for lines, stream in ((self.output, self.process.stdout), (self.errors, self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event so far."""
        found = [json.loads(line) for line in list(self.errors) if line.startswith("{")]
        return [line for line in found if line.get("event") == name]

    def shown(self, label: str, within: float = 60.0) -> str:
        """What the demo printed behind a label such as `page` or `psql`, once it is there."""

        def find() -> str | None:
            if self.process.poll() is not None:
                raise RuntimeError(f"the demo ended with {self.process.returncode}: {''.join(self.errors)}")
            lines = [line for line in list(self.output) if line.startswith(f"{label} ")]
            return lines[0].removeprefix(label).strip() if lines else None

        found = eventually(find, within=within)
        assert found is not None
        return found

    def dsn(self) -> str:
        """The URL within the printed psql line."""
        found = re.search(r"postgresql://[^']+", self.shown("psql"))
        assert found is not None
        return found[0]

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code, once the demo has ended by itself."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(5.0)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, Ctrl-C by default, and give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()
