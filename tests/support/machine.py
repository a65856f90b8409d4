"""What surrounds the daemon on its machine: a supervisor that listens, and a clock that a test sets."""

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import eventually


class Supervisor:
    """A notify socket as systemd has one. `messages` are the datagrams so far, each a list of assignments."""

    def __init__(self, folder: Path, *, watchdog_seconds: float | None = None) -> None:
        self._path = folder / "notify"
        self.environment = {"NOTIFY_SOCKET": str(self._path)}
        if watchdog_seconds is not None:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1_000_000))
        self.messages: list[list[str]] = []

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self._path))
        self._thread.join(10)
        self._socket.close()

    def _listen(self) -> None:
        while data := self._socket.recv(4096):
            self.messages.append(data.decode().split("\n"))

    def count(self, assignment: str) -> int:
        """How often `assignment` came."""
        return sum(assignment in message for message in list(self.messages))

    def wait_for(self, assignment: str, *, count: int = 1, within: float = 30.0) -> None:
        """Wait until `assignment` came `count` times."""
        eventually(lambda: self.count(assignment) >= count, within=within)


class WallClock:
    """The wall clock of one process, through libfaketime; its monotonic clock stays true."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._file = folder / "offset"
        self.step(0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: float) -> None:
        """From now on the process's wall clock is `seconds` from the machine's."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+.0f}s\n")
        # replaced at once: the process reads it at every look at its clock
        fresh.replace(self._file)


def faketime() -> Path | None:
    """Where libfaketime's library for threads is, None where the machine has none."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
