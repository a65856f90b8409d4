"""The `demo` command: an embedded PostgreSQL with live actions, and the daemon."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from analytics_refreshd.cli.common import duration, example, note, say
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.demo import DEFAULT_ROWS


class TerminalOutput:
    """Print lines, and on a terminal a progress bar.

    Lines are never wrapped, because a wrapped psql command cannot be pasted.
    """

    def say(self, text: str) -> None:
        """Show a line on standard output."""
        say(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Show a line on standard error."""
        note(text)

    @contextmanager
    def loading(self, rows: int) -> Iterator[Callable[[int], None]]:
        """Show a progress bar over `rows` if standard error is a terminal."""
        console = Console(stderr=True)
        columns = (TextColumn("Loading actions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=rows)
            yield lambda done: progress.update(task, completed=done)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("analytics-refreshd demo --interval 10s --rows 50000"))(demo)


def demo(
    interval: Annotated[str, typer.Option(help="Time between two refreshes.", callback=duration)] = "10s",
    rows: Annotated[
        int | None,
        typer.Option(help=f"Generate this many actions for the last 30 days.  [default: {DEFAULT_ROWS:,}]", min=1),
    ] = None,
    cycles: Annotated[int | None, typer.Option(help="Stop after this many refreshes.", min=1)] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Load this action log (CSV, also gzip) instead. It is shifted so that its last row is now; "
            "no live actions are added.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port of the page and the metrics.  [default: 9720, or a free one]", min=0, max=65535),
    ] = None,
    api_port: Annotated[
        int | None,
        typer.Option(help="Port of the REST API.  [default: 9721, or a free one]", min=0, max=65535),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the database here, and continue with it next time.")
    ] = None,
) -> int:
    """Run the daemon on a PostgreSQL of its own with live actions.

    Needs nothing but Python. Ctrl-C stops it and removes everything, except for what --data keeps.
    """
    if rows is not None and input is not None:
        raise UsageError("--rows and --input exclude each other")
    from analytics_refreshd.demo.session import Options, run

    options = Options(
        interval=interval,
        rows=rows,
        cycles=cycles,
        log_file=input,
        http_port=port,
        api_port=api_port,
        data=data,
        log_format="console" if sys.stderr.isatty() else "json",
    )
    return run(options, TerminalOutput())
