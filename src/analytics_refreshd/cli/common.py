"""Load the configuration and print results, for every command.

Commands import their parts when they run. So `--help` and `--version` load neither the database driver nor the daemon.
"""

import codecs
import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from analytics_refreshd.core.display import csv_cell, escaped_json, without_controls
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.wording import rfc3339, seconds_in_words, to_the_second

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.portions import Progress
    from analytics_refreshd.config import Config

DEFAULT_CONFIG = Path("/etc/analytics-refreshd/config.toml")
_PIPE_WIDTH = 400
_NEVER_A_DEMO = ("run", "api", "migrate")
_NAMES_A_DATABASE = ("PG", "ANALYTICS_REFRESHD_")
_TELL_SECONDS = 5.0
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_PARTIAL = 2
EXIT_USAGE = 64
EXIT_INTERNAL = 70
EXIT_OUTPUT = 74
EXIT_UNREACHABLE = 75
EXIT_CONFIG = 78


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


class FormatWithCsv(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="Output format.")]
CsvFormatOption = Annotated[FormatWithCsv, typer.Option("--format", help="Output format.")]


def example(*lines: str) -> str:
    """Write a command's epilog for `--help`."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def config_path(context: typer.Context) -> Path | None:
    """Return the file given with --config, else the default one.

    None where neither is there. One that this user may not read is there: `load_config` says so then.
    """
    path: Path | None = context.find_root().params.get("config")
    if path is not None:
        return path
    with suppress(FileNotFoundError, NotADirectoryError):
        try:
            DEFAULT_CONFIG.stat()
        except PermissionError:
            pass
        return DEFAULT_CONFIG
    return None


def load_config(context: typer.Context) -> "Config":
    """Return the configuration for this command.

    Raises ConfigError, which lists every problem.
    """
    from analytics_refreshd import config

    return config.load(config_path(context) or _running_demo(context))


def _running_demo(context: typer.Context) -> Path | None:
    """Return the configuration of this user's running demo where nothing else says which database.

    A demo is only looked at: what runs a daemon or changes a schema names its database. Raises UsageError if several
    demos run.
    """
    if context.info_name in _NEVER_A_DEMO or any(name.startswith(_NAMES_A_DATABASE) for name in os.environ):
        return None
    from analytics_refreshd.demo.folder import running

    found = running()
    if len(found) > 1:
        told = "\n".join(f"  --config {path}" for path in found)
        raise UsageError(f"several demos run here, and no configuration says which database; choose one:\n{told}")
    if found:
        note(f"analytics-refreshd: no configuration says which database, so this is the demo in {found[0].parent}")
    return found[0] if found else None


def seconds_of(text: str) -> timedelta:
    """Return the duration that `text` names, such as `2h`.

    Raises ValueError if it names none.
    """
    from analytics_refreshd.config import parse_duration

    return parse_duration(text)


def duration(text: str | None) -> str | None:
    """Refuse a value that is not a duration, as a typer callback."""
    if text is not None:
        try:
            seconds_of(text)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} {error}") from None
    return text


def span_or_moment(text: str) -> timedelta | datetime:
    """Read the value of `--since`.

    It is a duration back, as in `24h`, or an RFC 3339 time with its zone. Raises UsageError for anything else.
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        try:
            return seconds_of(text)
        except ValueError:
            pass
    raise UsageError(
        f'{text!r} is neither a duration like "24h", ten years at most, nor a time with its zone like '
        "2026-03-01T02:00:00Z"
    )


def console(piped_width: int = _PIPE_WIDTH) -> Console:
    """Return standard output for people.

    It has colour on a terminal only. In a pipe, lines of up to `piped_width` are not folded.
    """
    return _Terminal(width=None if sys.stdout.isatty() else max(piped_width, _PIPE_WIDTH), highlight=False)


class _Terminal(Console):
    """A console that no text can give commands to."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Make a text of a string, without control characters."""
        return super().render_str(without_controls(text), **how)


def say(text: str) -> None:
    """Print lines for people on standard output, without control characters."""
    typer.echo(without_controls(text))


def note(text: str) -> None:
    """Print a line for the user on standard error, without control characters."""
    typer.echo(without_controls(text), err=True)


def progress_teller(done: str) -> "Callable[[Progress], None]":
    """Return what tells every five seconds how far a command is.

    `done` is what was done to the rows.
    """
    told_at = time.monotonic()

    def tell(progress: "Progress") -> None:
        nonlocal told_at
        if time.monotonic() - told_at < _TELL_SECONDS:
            return
        told_at = time.monotonic()
        waits = f"; waiting for {progress.waits_for}" if progress.waits_for else ""
        note(f"{done} {progress.rows_done:,} of {progress.rows_to_go:,} rows{waits}")

    return tell


def print_exact(text: str) -> None:
    """Print what another program reads. On a terminal, control characters are left out."""
    typer.echo(without_controls(text) if sys.stdout.isatty() else text, nl=not text.endswith("\n"))


def print_json(value: object) -> None:
    """Print JSON on standard output. Control characters and changes of direction are escaped.

    So is all but ASCII where standard output takes no UTF-8.
    """
    ascii_only = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    typer.echo(escaped_json(json.dumps(value, indent=2, ensure_ascii=ascii_only, default=_plain, allow_nan=False)))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value, "auto")
    return str(value)


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]], *, raw: bool = False) -> None:
    """Print CSV on standard output, with exact numbers.

    An unknown value is empty. Text is without control characters, and begins no formula. With `raw` it is as stored,
    but for control characters on a terminal.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    controls = raw and not sys.stdout.isatty()
    for row in chain([columns], rows):
        writer.writerow([csv_cell(value, raw=raw, controls=controls) for value in row])


def clock(at: datetime | None) -> str:
    """Write a time for people, in UTC to the second."""
    return "-" if at is None else to_the_second(at)


def took(seconds: float | None) -> str:
    """Write a duration for people."""
    return "-" if seconds is None else seconds_in_words(seconds)


def error_words(sqlstate: str | None, error: str | None) -> str:
    """Return why a view failed: SQLSTATE and text, if known."""
    return " ".join(filter(None, (sqlstate, error))) or "no text"


def coloured(word: str) -> Text:
    """Return a verdict or an outcome in its colour."""
    colours = {
        "fresh": "green",
        "ok": "green",
        "late": "yellow",
        "partial": "yellow",
        "skipped": "yellow",
        "cancelled": "yellow",
        "stale": "red",
        "unknown": "red",
        "failed": "red",
        "timeout": "red",
    }
    return Text(word, style=colours.get(word, ""))
