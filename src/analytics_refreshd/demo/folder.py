"""Create a demo's folder, and find those of killed demos.

A demo holds an exclusive flock on `owner.lock` in its folder while it lives. The kernel releases the lock when the
process ends, for any reason. So a lock that can be taken proves that the owner is dead. A process number would not: it
may belong to another process by now.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PREFIX = "analytics-refreshd-demo-"
CONFIGURATION = "config.toml"
"""The demo's configuration within its folder, for other commands."""
_SHARED = Path("/tmp")  # noqa: S108
"""Where a demo is whose terminal had no folder of its own for what is temporary."""
_LOCK = "owner.lock"
_DATA = "data.path"
_UNFINISHED_SECONDS = 60.0


class RunFolder:
    """A locked folder; `server` in it belongs to the server's user."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, parent: Path) -> "RunFolder":
        """Create and lock a new folder below `parent`.

        Raises OSError if `parent` cannot be written.
        """
        while True:
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            lock = _take_lock(path, create=True)
            # Before we had the lock, another demo may have removed the folder as an abandoned one.
            if lock is not None and _is_current(path, lock):
                (path / "server").mkdir(mode=0o700)
                return cls(path, lock)

    @property
    def server(self) -> Path:
        """Return the folder of the server's socket, log and, by default, data."""
        return self.path / "server"

    @property
    def data(self) -> Path:
        """Return the server's data folder: inside this folder, or a kept one."""
        with suppress(FileNotFoundError):
            return Path((self.path / _DATA).read_text())
        return self.server / "data"

    def keep_data(self, data: Path) -> None:
        """Record that the data are in `data`, which `remove` keeps."""
        (self.path / _DATA).write_text(str(data))

    def remove(self) -> None:
        """Remove the folder, and the lock last.

        If this process is killed meanwhile, the next demo still finds the rest.
        """
        for entry in self.path.iterdir():
            if entry.name == _LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        with suppress(OSError):
            (self.path / _LOCK).unlink()
            self.path.rmdir()
        os.close(self._lock)


def running() -> list[Path]:
    """Return the configuration files of this user's running demos."""
    found = []
    for parent in dict.fromkeys((Path(tempfile.gettempdir()).resolve(), _SHARED)):
        for path in sorted(parent.glob(f"{PREFIX}*/{CONFIGURATION}")):
            with suppress(OSError):
                if not _is_own_folder(path.parent):
                    continue
                lock = _take_lock(path.parent, create=False)
                if lock is None:
                    found.append(path)
                else:
                    os.close(lock)
    return found


def abandoned(parent: Path) -> Iterator[RunFolder]:
    """Yield the folders that this user's killed demos left in `parent`.

    Each is locked for the caller.
    """
    for path in sorted(parent.glob(PREFIX + "*")):
        with suppress(OSError):
            if not _is_own_folder(path):
                continue
            lock = _take_lock(path, create=False)
            if lock is None:
                continue
            if _is_current(path, lock):
                yield RunFolder(path, lock)


def reclaim(path: Path) -> RunFolder | None:
    """Return `path` locked, if a killed demo of this user left it."""
    return next((found for found in abandoned(path.parent) if found.path == path), None)


def _is_own_folder(path: Path) -> bool:
    """Return whether this user created it: in a shared /tmp any user can make a folder of this name."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return False
    if (path / _LOCK).exists():
        return True
    # A demo was killed before it created the lock or after it removed it: the folder is empty and not in use.
    if time.time() - status.st_mtime > _UNFINISHED_SECONDS:
        with suppress(OSError):
            path.rmdir()
    return False


def _take_lock(path: Path, *, create: bool) -> int | None:
    flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    try:
        lock = os.open(path / _LOCK, flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _is_current(path: Path, lock: int) -> bool:
    """Return whether the held lock is still the folder's, which another demo may be removing."""
    try:
        found = (path / _LOCK).lstat()
    except FileNotFoundError:
        found = None
    if found is not None and found.st_ino == os.fstat(lock).st_ino:
        return True
    os.close(lock)
    return False
