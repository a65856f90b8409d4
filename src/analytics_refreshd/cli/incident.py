"""`incident`: the review of a stretch of time from the daemon's logs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from analytics_refreshd.app import incidents
from analytics_refreshd.app.incidents import Review
from analytics_refreshd.cli import incident_text
from analytics_refreshd.cli.common import EXIT_OK, print_json, print_table, span_or_moment
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.incident_parts import Incident


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
        print_json(asdict(review))
    elif output is ReviewFormat.TABLE:
        _show(review)
    else:
        typer.echo("\n".join(incident_text.markdown(review)).rstrip())
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
    typer.echo(f"\nlog: {incident_text.input_words(review)}")
    for log in review.databases:
        typer.echo(f"  {incident_text.log_words(log)}")
    if not review.incidents:
        typer.echo("no incident in these lines" if review.databases else "nothing can be said")
    for number, item in enumerate(review.incidents, 1):
        typer.echo(f"\nincident {number}, {incident_text.plain(item.database)}")
        for heading, lines in incident_text.facts(item):
            typer.echo(f"  {heading.lower() + ':':<19} {lines[0]}")
            for line in lines[1:]:
                typer.echo(f"  {'':<19} {line}")
        for text in item.missing:
            typer.echo(f"  {'not in the log:':<19} {incident_text.plain(text)}")
    for log in review.databases:
        for alert in log.alerts_outside:
            name = incident_text.plain(log.database)
            typer.echo(f"\nalert outside of incidents, {name}: {incident_text.alert_words(alert)}")
        for crash in log.crashes_outside:
            name = incident_text.plain(log.database)
            typer.echo(f"\ndaemon killed or crashed outside of incidents, {name}: {incident_text.crash_words(crash)}")
    for text in review.missing:
        typer.echo(f"missing: {incident_text.plain(text)}")


def _row(item: Incident) -> list[object]:
    error = item.first_sqlstate or item.first_error
    return [
        incident_text.plain(item.database),
        incident_text.stamp(item.started_at),
        incident_text.stamp(item.ended_at) if item.ended_at else "not over",
        incident_text.took(item.duration_seconds),
        len(item.views),
        incident_text.counts(item.runs),
        "-" if error is None else incident_text.plain(error.sqlstate or error.reason or "no SQLSTATE"),
        incident_text.took(item.detected_after_seconds),
    ]
