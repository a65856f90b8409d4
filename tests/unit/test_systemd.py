"""sd_notify: what is sent, and that its absence costs nothing."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_refreshd.observe.systemd import SystemdNotifier


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def received(listener: socket.socket) -> list[str]:
    return listener.recv(4096).decode().split("\n")


def test_says_each_thing_as_systemd_spells_it(supervisor: socket.socket) -> None:
    """Ready, status, watchdog, reloading and stopping are the assignments of sd_notify(3)."""
    environment = {"NOTIFY_SOCKET": supervisor.getsockname(), "WATCHDOG_USEC": "60000000"}
    notifier = SystemdNotifier(environment)
    notifier.ready("leader, next run 12:05")
    assert received(supervisor) == ["READY=1", "STATUS=leader, next run 12:05"]
    notifier.status("standby")
    assert received(supervisor) == ["STATUS=standby"]
    notifier.watchdog()
    assert received(supervisor) == ["WATCHDOG=1"]
    notifier.reloading()
    first, second = received(supervisor)
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0
    notifier.stopping("cancelling")
    assert received(supervisor) == ["STOPPING=1", "STATUS=cancelling"]
    assert notifier.failures == 0


def test_status_cannot_forge_another_assignment(supervisor: socket.socket) -> None:
    """A line break in a status text starts no assignment of its own."""
    SystemdNotifier({"NOTIFY_SOCKET": supervisor.getsockname()}).status("waits on\nMAINPID=1\r\nREADY=1")
    assert received(supervisor) == ["STATUS=waits on MAINPID=1 READY=1"]


@pytest.mark.fault
def test_D10_notify_socket_missing() -> None:
    """Without a supervisor nothing is sent and nothing counted."""
    notifier = SystemdNotifier({})
    notifier.ready("x")
    notifier.watchdog()
    assert notifier.failures == 0


@pytest.mark.fault
def test_D10_notify_socket_abstract() -> None:
    """A name that begins with @ is an abstract socket."""
    name = f"refreshd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(10)
        SystemdNotifier({"NOTIFY_SOCKET": f"@{name}"}).status("here")
        assert received(listener) == ["STATUS=here"]


@pytest.mark.fault
@pytest.mark.parametrize("path", ["/nowhere/notify", "/" + "x" * 300, "@gone-for-good"])
def test_D10_notify_socket_gone(path: str) -> None:
    """A socket that is not there, or cannot be, is counted and raises nothing."""
    notifier = SystemdNotifier({"NOTIFY_SOCKET": path})
    notifier.ready("x")
    assert notifier.failures == 1


@pytest.mark.fault
def test_D10_notify_socket_full(supervisor: socket.socket) -> None:
    """A supervisor that stopped reading does not block the daemon."""
    notifier = SystemdNotifier({"NOTIFY_SOCKET": supervisor.getsockname()})

    def fill() -> None:
        for _ in range(2000):
            notifier.status("x" * 400)

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    filling.join(30)
    assert not filling.is_alive()
    assert notifier.failures > 0


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"WATCHDOG_USEC": "60000000"}, True),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "17"}, True),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "18"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
)
def test_watchdog_is_for_the_process_it_names(
    supervisor: socket.socket, environment: dict[str, str], expected: bool
) -> None:
    """The watchdog is fed where systemd means this process, and waits for it."""
    notifier = SystemdNotifier({"NOTIFY_SOCKET": supervisor.getsockname(), **environment}, pid=17)
    notifier.watchdog()
    notifier.status("done")
    assert (received(supervisor) == ["WATCHDOG=1"]) is expected
