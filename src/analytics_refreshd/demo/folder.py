"""The folder of one demo, and how the folders of killed demos are told from those in use.

A demo holds an exclusive flock on `owner.lock` in its folder for as long as it lives. The kernel drops the lock
when the process ends, however it ends, so a lock that can be taken proves that the owner is dead, with no
process number that could have been given to somebody else meanwhile.
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
_LOCK = "owner.lock"
_DATA = "data.path"
_UNFINISHED_SECONDS = 60.0


class RunFolder:
    """A folder whose lock this process holds: `server` inside it belongs to the server's user."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, parent: Path) -> "RunFolder":
        """Make and lock a new folder below `parent`; OSError where that cannot be written."""
        while True:
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            lock = _take_lock(path, create=True)
            # Another demo may have taken the folder for an abandoned one before the lock was held.
            if lock is not None and _is_current(path, lock):
                (path / "server").mkdir(mode=0o700)
                return cls(path, lock)

    @property
    def server(self) -> Path:
        """Where the server keeps its socket, its log and, unless told otherwise, its data."""
        return self.path / "server"

    @property
    def data(self) -> Path:
        """The server's data folder: inside this folder, or where `keep_data` said."""
        with suppress(FileNotFoundError):
            return Path((self.path / _DATA).read_text())
        return self.server / "data"

    def keep_data(self, data: Path) -> None:
        """Record that the data live in `data`, which `remove` leaves alone."""
        (self.path / _DATA).write_text(str(data))

    def remove(self) -> None:
        """Remove the folder, the lock last, so that a kill in between leaves what the next demo can find."""
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


def abandoned(parent: Path) -> Iterator[RunFolder]:
    """The folders below `parent` that dead demos of this very user left, each locked for the caller."""
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
    """`path` as a folder of a dead demo of this user, locked for the caller; None where it is no such thing."""
    return next((found for found in abandoned(path.parent) if found.path == path), None)


def _is_own_folder(path: Path) -> bool:
    """Whether this user made it: in a shared /tmp anybody can prepare a folder of this name."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return False
    if (path / _LOCK).exists():
        return True
    # Killed before the lock existed or after it was removed: nothing is inside, and nobody is at work here.
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
    """Whether the lock held is the one in the folder now, not one of a folder that is being removed."""
    try:
        found = (path / _LOCK).lstat()
    except FileNotFoundError:
        found = None
    if found is not None and found.st_ino == os.fstat(lock).st_ino:
        return True
    os.close(lock)
    return False
