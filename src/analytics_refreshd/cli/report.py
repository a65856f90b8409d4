"""The `report` command: a month of one organization, as a file."""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from analytics_refreshd.cli.common import (
    EXIT_OK,
    EXIT_OUTPUT,
    duration,
    example,
    load_config,
    note,
    print_exact,
    say,
    seconds_of,
)
from analytics_refreshd.cli.query import EXIT_BAD_PARAMETER
from analytics_refreshd.core.files import write_whole
from analytics_refreshd.core.redaction import printable

_LONGEST_NAME = 150


class ReportFormat(StrEnum):
    """How a report is written."""

    HTML = "html"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=example(
            "analytics-refreshd report --organization acme --directory /var/lib/analytics-reports",
            "analytics-refreshd report --organization acme --month 2026-03 --format csv",
        )
    )(report)


def report(
    context: typer.Context,
    organization: Annotated[str, typer.Option(metavar="ID", help="Whose month it is.")],
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Default: the last month that is over.")] = None,
    timezone: Annotated[str, typer.Option(metavar="NAME", help="Whose months and days.")] = "UTC",
    output: Annotated[ReportFormat, typer.Option("--format", help="A page to read, or figures.")] = ReportFormat.HTML,
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a file there, named by organization and month.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="Stop the questions after this time.", callback=duration)] = "2m",
) -> int:
    """Write the report of a month for one organization.

    It has the overview, days, action types, triggers, errors and costs. The HTML file needs no other file.
    """
    from analytics_refreshd.app.commands.report import ParameterError, read_report
    from analytics_refreshd.observe.report.render import render_csv, render_html

    try:
        config = load_config(context)
        found = read_report(config, organization, month, timezone, seconds_of(timeout).total_seconds())
    except ParameterError as error:
        note(f"analytics-refreshd: {printable(str(error))}")
        return EXIT_BAD_PARAMETER
    text = render_html(found) if output is ReportFormat.HTML else render_csv(found)
    if directory is None:
        print_exact(text)
        return EXIT_OK
    path = directory / f"{_file_name(organization)}-{found.month}.{output}"
    try:
        write_whole(path, text.encode("utf-8", "replace"))
    except OSError as error:
        note(f"analytics-refreshd: cannot write {printable(str(path))}: {error.strerror}")
        return EXIT_OUTPUT
    say(f"wrote {printable(str(path))}")
    return EXIT_OK


def _file_name(organization: str) -> str:
    """Return an id as a part of a file's name: it may hold what leads out of the directory, and be long."""
    name = quote(organization, safe="")
    digest = hashlib.sha256(organization.encode("utf-8", "replace")).hexdigest()[:16]
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}-{digest}"
