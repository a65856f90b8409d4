"""`incident`: the review of a stretch of time from the daemon's logs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from analytics_refreshd.cli.common import EXIT_OK, print_json, print_table, span_or_moment
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.incident import markdown
from analytics_refreshd.incident import review as incidents
from analytics_refreshd.incident.document import as_document
from analytics_refreshd.incident.model import Incident
from analytics_refreshd.incident.review import Review


class ReviewFormat(StrEnum):
    """How the review is printed."""

    MARKDOWN = "markdown"
    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(incident)


def moment(text: str | None, now: datetime) -> datetime | None:
    """So far before `now`, or the time given. Raises UsageError."""
    given = None if text is None else span_or_moment(text)
    return now - given if isinstance(given, timedelta) else given


def incident(
    log: Annotated[
        list[str] | None,
        typer.Option(help="A log file, gzip too, or - for standard input; more than once for several.", metavar="FILE"),
    ] = None,
    output: Annotated[ReviewFormat, typer.Option("--format", help="How to print.")] = ReviewFormat.MARKDOWN,
    since: Annotated[str | None, typer.Option(help="Incidents after this: 24h ago, or a time (RFC 3339).")] = None,
    until: Annotated[str | None, typer.Option(help="Incidents before this, in the same form.")] = None,
) -> int:
    """Write the review of what went wrong, from the JSON logs that journalctl, kubectl or a file hold."""
    now = datetime.now(UTC)
    begin, end = moment(since, now), moment(until, now)
    if begin is not None and end is not None and begin > end:
        raise UsageError("--since lies after --until")
    if not log and sys.stdin.isatty():
        raise UsageError("say which log to read: --log FILE, or --log - with the log piped in")
    with _progress() as tell:
        review = incidents.review(log or ["-"], since=begin, until=end, progress=tell)
    if output is ReviewFormat.JSON:
        print_json(as_document(review))
    elif output is ReviewFormat.TABLE:
        _show(review)
    else:
        typer.echo("\n".join(markdown.document(review)).rstrip())
    return EXIT_OK


@contextmanager
def _progress() -> Iterator[incidents.Progress]:
    """A bar on standard error where that is a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda phase, done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def tell(phase: str, done: int, total: int | None) -> None:
            bar.update(task, description=phase, completed=done, total=total)

        yield tell


def _show(review: Review) -> None:
    print_table(
        ["incident", "database", "start", "end", "duration", "views", "runs", "first error", "detected after"],
        [[number, *_row(item)] for number, item in enumerate(review.incidents, 1)],
    )
    typer.echo(f"\nlog: {markdown.input_words(review)}")
    for log in review.databases:
        typer.echo(f"  {markdown.log_words(log)}")
    if not review.incidents:
        typer.echo("no incident in these lines" if review.databases else "nothing can be said")
    for number, item in enumerate(review.incidents, 1):
        typer.echo(f"\nincident {number}, {markdown.plain(item.database)}")
        for heading, lines in markdown.facts(item):
            typer.echo(f"  {heading.lower() + ':':<19} {lines[0]}")
            for line in lines[1:]:
                typer.echo(f"  {'':<19} {line}")
        for text in item.missing:
            typer.echo(f"  {'not in the log:':<19} {markdown.plain(text)}")
    for log in review.databases:
        for alert in log.alerts_outside:
            name = markdown.plain(log.database)
            typer.echo(f"\nalert outside of incidents, {name}: {markdown.alert_words(alert)}")
        for crash in log.crashes_outside:
            name = markdown.plain(log.database)
            typer.echo(f"\ndaemon killed or crashed outside of incidents, {name}: {markdown.crash_words(crash)}")
    for text in review.missing:
        typer.echo(f"missing: {markdown.plain(text)}")


def _row(item: Incident) -> list[object]:
    error = item.first_sqlstate or item.first_error
    return [
        markdown.plain(item.database),
        markdown.stamp(item.started_at),
        markdown.stamp(item.ended_at) if item.ended_at else "not over",
        markdown.took(item.duration_seconds),
        len(item.views),
        markdown.counts(item.runs),
        "-" if error is None else markdown.plain(error.sqlstate or error.reason or "no SQLSTATE"),
        markdown.took(item.detected_after_seconds),
    ]
