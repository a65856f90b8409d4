"""Reads the small files that the configuration names, and writes whole ones.

Whatever stands in the place of a small file, reading it ends.
"""

import codecs
import errno
import os
import secrets
import stat
from pathlib import Path

SMALL_BYTES = 64 * 1024
"""More than any password, token or address."""


def read_small(path: Path, most_bytes: int = SMALL_BYTES) -> bytes:
    """Return the content of a regular file, symbolic links followed.

    Raises OSError, whose strerror says why: also for a FIFO or a device, which might never end or never begin, for a
    file over `most_bytes`, and for a name that no file can have.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "its name holds a NUL")
    _check_regular(path.stat())  # before it is opened: opening a device may do something
    # without waiting, because a FIFO may have come in its place
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as opened:
        _check_regular(os.fstat(descriptor))
        content = opened.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EINVAL, f"it is over {most_bytes // 1024:,} KiB")
    return content


def decode_text(content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Some editors put one first. Raises UnicodeDecodeError.
    """
    return content.removeprefix(codecs.BOM_UTF8).decode()


def list_files(directory: Path, suffix: str) -> list[Path]:
    """Return the files of a directory with this suffix, sorted.

    Hidden ones are left out. Raises OSError, whose strerror says why, where the directory cannot be listed.
    """
    if "\0" in str(directory):
        raise OSError(errno.EINVAL, "its name holds a NUL")
    names = os.listdir(directory)
    return [directory / name for name in sorted(names) if name.endswith(suffix) and not name.startswith(".")]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as a whole: at any moment the old one is there, or the new one.

    Raises OSError, whose strerror says why; then nothing of it is left.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(beside, "xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "a device")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file")
