"""Reads the password for each connection: secrets rotate, and tokens expire."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from analytics_refreshd.core.files import SMALL_BYTES, decode_text, read_small
from analytics_refreshd.postgres.connection.errors import cannot_connect


def password_from_file(path: Path) -> str:
    """Read the file's content without its final line break.

    Raises DatabaseFault where it is unreadable, empty, or no single line of UTF-8.
    """
    try:
        content = read_small(path)
    except OSError as error:
        raise cannot_connect(f"cannot read the password file {path}: {error.strerror}") from None
    return _decoded(content, f"the password file {path}")


def password_from_command(command: Sequence[str], timeout_seconds: float) -> str:
    """Return what the command prints, without the final line break.

    After `timeout_seconds` it is killed with all that it started. Its output is never shown. Raises DatabaseFault
    where it cannot be started, fails, takes too long, or prints no single line of UTF-8.
    """
    named = f"[database] password_command ({command[0]})"
    try:
        process = subprocess.Popen(  # noqa: S603 - the administrator's own command, without a shell
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise cannot_connect(f"{named} cannot be started: {error.strerror}") from None
    with process:
        try:
            output = _output(process, timeout_seconds)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise cannot_connect(f"{named} did not end within {timeout_seconds:g} s") from None
            if isinstance(error, _TooMuch):
                raise cannot_connect(f"{named} prints more than {SMALL_BYTES // 1024} KiB") from None
            raise
    if process.returncode:
        raise cannot_connect(f"{named} failed with exit code {process.returncode}")
    return _decoded(output, f"the output of {named}")


class _TooMuch(Exception):
    """The output is no password."""


def _output(process: subprocess.Popen[bytes], timeout_seconds: float) -> bytes:
    """Return what the process prints until it ends. Raises subprocess.TimeoutExpired and _TooMuch."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    until = time.monotonic() + timeout_seconds
    ready = select.poll()
    ready.register(process.stdout, select.POLLIN)
    output = b""
    while ready.poll(1000 * max(0.0, until - time.monotonic())):
        part = os.read(process.stdout.fileno(), SMALL_BYTES)
        if not part:
            process.wait(max(0.0, until - time.monotonic()))
            return output
        output += part
        if len(output) > SMALL_BYTES:
            raise _TooMuch
    raise subprocess.TimeoutExpired(process.args, timeout_seconds)


def _decoded(content: bytes, source: str) -> str:
    try:
        password = decode_text(content).rstrip("\r\n")
    except UnicodeDecodeError:
        raise cannot_connect(f"{source} is not UTF-8 text") from None
    if not password:
        raise cannot_connect(f"{source} is empty")
    if "\n" in password or "\0" in password:
        raise cannot_connect(f"{source} holds more than one line")
    return password
