"""What every command shares: the configuration, and how results are printed.

Commands import what they do when they run: `--help` and `--version` load neither the database driver nor the daemon.
"""

import csv
import json
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.model import ViewResult
from analytics_refreshd.core.wording import seconds_in_words

if TYPE_CHECKING:
    from analytics_refreshd.config import Config

_PIPE_WIDTH = 400
_LEAST_PROSE = 24
"""Columns that running text can do with; narrower, it is a ladder of single words."""
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


FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]
CsvFormatOption = Annotated[FormatWithCsv, typer.Option("--format", help="How to print.")]


def config_path(context: typer.Context) -> Path | None:
    """The file given with --config, if any."""
    path: Path | None = context.find_root().params.get("config")
    return path


def load_config(context: typer.Context) -> "Config":
    """The configuration for this command; ConfigError lists every problem."""
    from analytics_refreshd import config

    return config.load(config_path(context))


def seconds_of(text: str) -> timedelta:
    """The length that `text` names, such as `2h`; ValueError where it names none."""
    from analytics_refreshd.config import parse_duration

    return parse_duration(text)


def duration(text: str | None) -> str | None:
    """A typer callback: refuse what is not a duration."""
    if text is not None:
        try:
            seconds_of(text)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} {error}") from None
    return text


def span_or_moment(text: str) -> timedelta | datetime:
    """What `--since` takes: how far back, as in `24h`, or an RFC 3339 time with its zone. Raises UsageError."""
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
    """Standard output for people: colour on a terminal only, and no line of that width folded where it is piped."""
    return Console(width=None if sys.stdout.isatty() else max(piped_width, _PIPE_WIDTH), highlight=False)


def note(text: str) -> None:
    """A line for the person, on standard error."""
    typer.echo(text, err=True)


def print_json(value: object) -> None:
    """JSON on standard output, with the units in the names."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain, allow_nan=False))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, prose: Collection[str] = ()
) -> None:
    """A line per row, or where that is wider than the terminal a block per row with one value a line.

    So neither a name nor a value and its unit is cut apart. Only the columns of `prose` are folded, between words,
    where that leaves them room; in a pipe nothing is. Numbers are right-aligned. Text from the database is never read
    as markup.
    """
    cells = [[_as_text(value) for value in row] for row in rows]
    widths = [max([len(name), *(_width(row[at]) for row in cells)]) for at, name in enumerate(columns)]
    needed = sum(widths) + 2 * len(widths)
    out = console(max(needed, len(title or "")))
    if title is not None:
        out.print(title, markup=False, style="bold")
    spare = sum(max(0, width - _LEAST_PROSE) for name, width in zip(columns, widths, strict=True) if name in prose)
    if needed - spare > out.width:
        _print_blocks(out, columns, cells)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(columns):
        right = bool(cells) and all(row[at].justify == "right" or row[at].plain == "-" for row in cells)
        table.add_column(name, justify="right" if right else "left", no_wrap=name not in prose, overflow="fold")
    for row in cells:
        table.add_row(*row)
    out.print(table)


def _print_blocks(out: Console, columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
    for row in cells:
        block = Table.grid(padding=(0, 2), pad_edge=False)
        block.add_column(style="bold", no_wrap=True)
        block.add_column(overflow="fold")
        for name, value in zip(columns, row, strict=True):
            block.add_row(name, Text(value.plain, style=value.style))
        out.print()
        out.print(block)


def _width(text: Text) -> int:
    return max((cell_len(line) for line in text.plain.splitlines()), default=0)


def _as_text(value: object) -> Text:
    if isinstance(value, Text):
        return value
    return Text(_cell(value), justify="right" if isinstance(value, int | float) else None)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """CSV on standard output; exact numbers, empty for what is unknown."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = ("" if value is None else _plain(value) if isinstance(value, datetime) else value for value in row)
        writer.writerow(list(cells))


def clock(at: datetime | None) -> str:
    """A moment for people: UTC, to the second."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def took(seconds: float | None) -> str:
    """A duration for people."""
    return "-" if seconds is None else seconds_in_words(seconds)


def error_words(result: ViewResult) -> str:
    """Why a view failed: SQLSTATE and text, or what is known of them."""
    return " ".join(filter(None, (result.sqlstate, result.error))) or "no text"


def coloured(word: str) -> Text:
    """A verdict or an outcome, in its colour."""
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
