"""Telling systemd how the service is: sd_notify(3) and the watchdog, as plain datagrams."""

import os
import socket
import time
from collections.abc import Mapping


class SystemdNotifier:
    """Sends notifications to the supervisor named in `environment`; without one every method does nothing.

    Nothing here blocks or raises: the socket may be missing, gone or full, and a service must not stop for that.
    `failures` counts the datagrams that were not taken.
    """

    def __init__(self, environment: Mapping[str, str], *, pid: int | None = None) -> None:
        self.failures = 0
        path = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of an abstract socket; other schemes (vsock) are for virtual machines.
        self._address = path.replace("@", "\0", 1) if path.startswith(("@", "/")) else None
        self._watched = _watched(environment, os.getpid() if pid is None else pid)

    def ready(self, status: str) -> None:
        """The service serves; also ends a reload."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> None:
        """Feed the watchdog; call on evidence of work only."""
        if self._watched:
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. Type=notify-reload wants the monotonic time."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """The service is going down."""
        self._send("STOPPING=1", f"STATUS={_one_line(status)}")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(assignments).encode("utf-8", "replace"), self._address)
        except (OSError, ValueError):
            self.failures += 1


def _one_line(text: str) -> str:
    """A line break would start another assignment."""
    return " ".join(text.split())[:500]


def _watched(environment: Mapping[str, str], pid: int) -> bool:
    """Whether the supervisor's watchdog waits for this process."""
    owner = environment.get("WATCHDOG_PID", "")
    microseconds = environment.get("WATCHDOG_USEC", "")
    mine = not owner or owner == str(pid)
    return mine and microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
