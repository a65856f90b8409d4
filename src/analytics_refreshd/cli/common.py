"""What every command shares: the configuration, connections for one command, and how results are printed."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analytics_refreshd import config as configuration
from analytics_refreshd.config import Config
from analytics_refreshd.core.wording import seconds_in_words

_PIPE_WIDTH = 400
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


def load_config(context: typer.Context, overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration for this command; ConfigError lists every problem."""
    return configuration.load(config_path(context), overrides)


def duration(text: str | None) -> str | None:
    """A typer callback: refuse what is not a duration."""
    if text is not None:
        try:
            configuration.parse_duration(text)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} {error}") from None
    return text


def console() -> Console:
    """Standard output for people: colour on a terminal only, and no line folded where it is piped."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


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


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table for people; numbers right-aligned. Text from the database is never read as markup."""
    listed = [list(row) for row in rows]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        numeric = bool(listed) and all(isinstance(row[position], int | float | None) for row in listed)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(value if isinstance(value, Text) else Text(_cell(value)) for value in row))
    console().print(table)


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
