"""Writes frozen figures to a file, and takes them from one."""

import gzip
import io
import zlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import BinaryIO, cast

from analytics_refreshd.app.commands.migrate import connected
from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.postgres.incremental import transfer
from analytics_refreshd.postgres.incremental.horizon import Frozen
from analytics_refreshd.postgres.incremental.install import InstallProgress


def export_frozen(config: Config, path: Path) -> Frozen:
    """Write what is frozen to a new file.

    It is packed where its name ends with .gz. Raises UsageError where the file exists, cannot be written, or nothing is
    frozen; no part of a file is left then.
    """
    try:
        raw = path.open("xb")
    except OSError as error:
        raise UsageError(f"{path} cannot be created: {error.strerror}") from None
    try:
        with raw, _text(raw, path, "wb") as file, connected(config) as connection:
            return transfer.export_frozen(connection, file.write)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def import_frozen(
    config: Config, path: Path, *, discard_frozen: date | None, told: Callable[[InstallProgress], None]
) -> Frozen:
    """Take in what `export_frozen` wrote.

    Raises UsageError where the file cannot be read or is no export, with nothing changed.
    """
    try:
        with path.open("rb") as raw, _text(raw, path, "rb") as file, connected(config) as connection:
            return transfer.import_frozen(
                connection, config.database.db_schema, file, discard_frozen=discard_frozen, progress=told
            )
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no export'}") from None


def _text(raw: BinaryIO, path: Path, mode: str) -> io.TextIOWrapper:
    file = cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode=mode)) if path.suffix == ".gz" else raw
    return io.TextIOWrapper(file, encoding="utf-8", newline="\n")
