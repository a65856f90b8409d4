"""Reads the small files that the configuration names, whatever stands there instead."""

import errno
import os
import stat
from pathlib import Path

SMALL_BYTES = 64 * 1024
"""More than any password, token or address."""


def read_small(path: Path, most_bytes: int = SMALL_BYTES) -> bytes:
    """Return the content of a regular file, symbolic links followed.

    Raises OSError, whose strerror says why: also for a FIFO or a device, which might never end or never begin, and for
    a file over `most_bytes`.
    """
    _check_regular(path.stat())  # before it is opened: opening a device may do something
    # without waiting, because a FIFO may have come in its place
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as opened:
        _check_regular(os.fstat(descriptor))
        content = opened.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EINVAL, f"it is over {most_bytes // 1024:,} KiB")
    return content


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "a device")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file")
