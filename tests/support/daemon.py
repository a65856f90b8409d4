"""The real daemon as a child process: its log as it comes, its HTTP port, its signals and its exit."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import warm
from tests.support.waiting import eventually

PREFIX = "ANALYTICS_REFRESHD_"
Settings = dict[str, Any]
"""Settings by environment name, as `schedule__interval`; the daemon itself is what checks their values."""
_MAIN = "\nfrom analytics_refreshd.cli import main\nraise SystemExit(main())\n"


def environment(dsn: str, **settings: Any) -> dict[str, str]:
    """The environment for a daemon or command on `dsn`; `schedule__interval="2s"` sets that key."""
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((PREFIX, "PG")) and name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM")
    }
    given[f"{PREFIX}DATABASE__URL"] = dsn
    for name, value in ({"http__port": 0} | settings).items():
        given[f"{PREFIX}{name.upper()}"] = json.dumps(value) if isinstance(value, list | dict) else str(value)
    return given


def command(dsn: str, *words: str, timeout: float = 120.0, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return warm.run(words, environment(dsn, **settings), timeout)


class Daemon:
    """`analytics-refreshd run`, started on entry and gone on exit.

    `broken` is Python that the process executes first, to break a part of itself that no fault from outside reaches.
    `cold` starts a new interpreter, whose memory is that of an installed daemon.
    """

    command = "run"

    def __init__(
        self,
        dsn: str,
        *,
        config: Path | None = None,
        extra: Mapping[str, str] | None = None,
        broken: str | None = None,
        cold: bool = False,
        **settings: Any,
    ) -> None:
        self._environment = environment(dsn, **settings) | dict(extra or {})
        self._program = None if broken is None else ["-c", textwrap.dedent(broken) + _MAIN]
        if cold:
            self._program = warm.PROGRAM
        self._words = [*(["--config", str(config)] if config else []), self.command]
        self.lines: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        self.process = warm.start(self._words, self._environment, self._program)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(30)
        self._reader.join(10)
        if self.process.stderr:
            self.process.stderr.close()
        if error is not None:
            sys.stderr.write("--- the daemon's log ---\n" + "\n".join(self.raw[-60:]) + "\n")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.raw.append(line.rstrip("\n"))
                if line.startswith("{"):
                    self.lines.append(json.loads(line))
                self._changed.notify_all()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event so far."""
        return [line for line in list(self.lines) if line["event"] == name]

    def wait_for(
        self,
        event: str,
        where: Callable[[dict[str, Any]], bool] = lambda line: True,
        *,
        count: int = 1,
        within: float = 90.0,
    ) -> dict[str, Any]:
        """Wait until `event` was logged `count` times with fields that `where` accepts; returns the last."""

        def matching() -> list[dict[str, Any]]:
            return [line for line in list(self.lines) if line["event"] == event and where(line)]

        with self._changed:
            arrived = self._changed.wait_for(lambda: len(matching()) >= count or self._over(), timeout=within)
        found = matching()
        if not arrived or len(found) < count:
            raise AssertionError(f"{event} came {len(found)} of {count} times within {within} s")
        return found[count - 1]

    def _over(self) -> bool:
        return self.process.poll() is not None and not self._reader.is_alive()

    @property
    def port(self) -> int:
        """The HTTP port, known once the daemon has started."""
        return int(self.wait_for("daemon.started")["http"].rsplit(":", 1)[1])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP request."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return int(error.code), error.read().decode()

    def metric(self, name: str, **labels: str) -> float | None:
        """One sample's value, None where the series is absent."""
        for line in self.get("/metrics")[1].splitlines():
            head, _, value = line.rpartition(" ")
            bare, _, inside = head.partition("{")
            if bare == name and all(f'{key}="{wanted}"' in inside for key, wanted in labels.items()):
                return float(value)
        return None

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within: float = 60.0) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(within)
        self._reader.join(10)
        return code

    def until(self, probe: Callable[[], object], *, within: float = 90.0) -> None:
        """Wait until `probe` is true."""
        eventually(probe, within=within, every=0.05)
