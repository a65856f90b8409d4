"""A Debian tree that a real systemd was booted in, with the program installed as the guide says."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.deploy.support import DEPLOY, SYSTEMD, accepted, tool
from tests.support.waiting import eventually

UNIT = "analytics-refreshd"
COMMAND = "/opt/analytics-refreshd/bin/analytics-refreshd"
PASSWORD = "/etc/analytics-refreshd/config.password"


class Machine:
    """The booted tree."""

    def __init__(self, tree: Path, init: int) -> None:
        self.tree = tree
        self._init = init

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, and say how it ended."""
        enter = ["nsenter", "-t", str(self._init), "-m", "-p", "-i", "-u", "-n", "-C", "-r", "-w", "--"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb", "LANG=C.UTF-8"]
        return subprocess.run([*enter, *clean, *words], capture_output=True, text=True, check=False, timeout=90)

    def show(self, unit: str = UNIT) -> dict[str, str]:
        """The unit's properties."""
        return dict(line.partition("=")[::2] for line in self.run("systemctl", "show", unit).stdout.splitlines())

    def is_up(self) -> bool:
        """Whether the daemon is ready, and says that it leads."""
        shown = self.show()
        return shown["ActiveState"] == "active" and shown["StatusText"].startswith("leader")

    def journal(self) -> list[dict[str, str]]:
        """What the unit logged, as journald keeps it."""
        output = self.run("journalctl", "-u", UNIT, "-o", "json", "--all", "--no-pager").stdout
        return [json.loads(line) for line in output.splitlines()]

    def events(self, name: str) -> list[dict[str, object]]:
        """The daemon's log lines of one event."""
        messages = [entry["MESSAGE"] for entry in self.journal() if (entry["MESSAGE"] or "").startswith("{")]
        return [line for line in map(json.loads, messages) if line["event"] == name]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file into the tree."""
        file = self.tree / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def let_on_call_in(self) -> None:
        """Add the user `oncall`, who may read the password, and the link to the command, as the guide says."""
        self.run("ln", "-sf", COMMAND, "/usr/local/bin/")
        self.run("groupadd", "--system", "analytics-oncall")
        self.run("useradd", "--create-home", "--groups", "analytics-oncall", "oncall")
        self.run("chgrp", "analytics-oncall", PASSWORD)
        self.run("chmod", "0640", PASSWORD)

    def as_on_call(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as the user `oncall` types it."""
        return self.run("runuser", "--login", "oncall", "--command", line)


def install(debian: Path, wheels: Path) -> None:
    """Take the guide's steps: a virtual environment, the locked wheels, ours, and the units."""
    shutil.copytree(wheels, debian / "wheels")
    shutil.copy(DEPLOY / "container" / "requirements.lock", debian / "wheels")
    pip: list[str | Path] = [
        "chroot",
        debian,
        "/opt/analytics-refreshd/bin/pip",
        "install",
        "--no-index",
        "--find-links",
        "/wheels",
    ]
    accepted("chroot", debian, "python3", "-m", "venv", "/opt/analytics-refreshd")
    accepted(*pip, "--require-hashes", "-r", "/wheels/requirements.lock")
    (wheel,) = (debian / "wheels").glob("analytics_refreshd-*.whl")
    accepted(*pip, "--no-deps", f"/wheels/{wheel.name}")
    for unit in SYSTEMD.iterdir():
        shutil.copy(unit, debian / "etc/systemd/system")


@contextmanager
def boot(installed: Path) -> Iterator[Machine]:
    """Boot an installed tree."""
    hierarchy = next(
        (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"),
        None,
    )
    if hierarchy is None:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    group = Path(hierarchy) / f"analytics-refreshd-test-{os.getpid()}"
    (installed / "etc/systemd/journald.conf").write_text("[Journal]\nStorage=volatile\n")
    script = Path(__file__).with_name("boot-systemd.sh")
    booted = subprocess.Popen([tool("bash"), str(script), str(installed), str(group)], start_new_session=True)
    try:
        children = Path(f"/proc/{booted.pid}/task/{booted.pid}/children")
        init = eventually(lambda: _systemd(children), within=30)
        machine = Machine(installed, init)
        eventually(
            lambda: machine.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}, within=60
        )
        yield machine
    finally:
        booted.send_signal(signal.SIGKILL)
        booted.wait()
        eventually(lambda: _removed(group), within=30)


def _systemd(children: Path) -> int | None:
    for pid in children.read_text().split():
        if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
            return int(pid)
    return None


def _removed(group: Path) -> bool:
    for folder in sorted(group.rglob("*"), reverse=True):
        if folder.is_dir():
            with suppress(OSError):
                folder.rmdir()
    with suppress(OSError):
        group.rmdir()
    return not group.exists()
