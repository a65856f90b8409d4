"""Tell systemd the service's state by sd_notify(3) datagrams."""

import os
import socket
import time
from collections.abc import Mapping


class SystemdNotifier:
    """Notify the supervisor that `environment` names.

    Without a supervisor every method does nothing. No method blocks or raises, because a service must not stop if the
    socket is missing or full. `failures` counts the datagrams that could not be sent.
    """

    def __init__(self, environment: Mapping[str, str], *, pid: int | None = None) -> None:
        self.failures = 0
        path = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of an abstract socket. Other schemes (vsock) are for virtual machines.
        self._address = path.replace("@", "\0", 1) if path.startswith(("@", "/")) else None
        self._watched = _watched(environment, os.getpid() if pid is None else pid)

    def ready(self, status: str) -> None:
        """Report that the service is ready, or that a reload has ended."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> None:
        """Feed the watchdog. Call it only after work was done."""
        if self._watched:
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that a reload begins; `ready` ends it.

        Type=notify-reload needs the monotonic time.
        """
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Report that the service is stopping."""
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
    """Remove line breaks, which would start another assignment."""
    return " ".join(text.split())[:500]


def _watched(environment: Mapping[str, str], pid: int) -> bool:
    """Return whether the supervisor's watchdog expects this process."""
    owner = environment.get("WATCHDOG_PID", "")
    microseconds = environment.get("WATCHDOG_USEC", "")
    mine = not owner or owner == str(pid)
    return mine and microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
