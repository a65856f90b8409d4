"""The `incident` command: review what went wrong, from the daemon's logs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from analytics_refreshd.cli.common import EXIT_OK, clock, example, print_json, say, span_or_moment
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.errors import UsageError

if TYPE_CHECKING:
    from analytics_refreshd.incident.model import Incident
    from analytics_refreshd.incident.review import OnProgress, Review


class ReviewFormat(StrEnum):
    """How the review is printed."""

    MARKDOWN = "markdown"
    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("journalctl --all -o json -u analytics-refreshd | analytics-refreshd incident --log -"))(
        incident
    )


def moment(text: str | None, now: datetime) -> datetime | None:
    """Return the given time, or the time that long before `now`.

    Raises UsageError if the text is neither a duration nor a time.
    """
    given = None if text is None else span_or_moment(text)
    return now - given if isinstance(given, timedelta) else given


def incident(
    log: Annotated[
        list[str] | None,
        typer.Option(help="A log file (also gzip), or - for standard input. Repeatable.", metavar="FILE"),
    ] = None,
    output: Annotated[ReviewFormat, typer.Option("--format", help="Output format.")] = ReviewFormat.MARKDOWN,
    since: Annotated[
        str | None, typer.Option(help="Only incidents after this: a duration back, as in 24h, or an RFC 3339 time.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only incidents before this: the same two forms.")] = None,
) -> int:
    """Review what went wrong, from the daemon's JSON logs.

    Reads log files, and what journalctl or kubectl print.
    """
    now = datetime.now(UTC)
    begin, end = moment(since, now), moment(until, now)
    if begin is not None and end is not None and begin > end:
        raise UsageError("--since lies after --until")
    if not log and sys.stdin.isatty():
        raise UsageError("say which log to read: --log FILE, or --log - with the log piped in")
    from analytics_refreshd.incident import markdown
    from analytics_refreshd.incident.document import as_document
    from analytics_refreshd.incident.review import review

    with _progress() as show:
        reviewed = review(log or ["-"], since=begin, until=end, progress=show)
    if output is ReviewFormat.JSON:
        print_json(as_document(reviewed))
    elif output is ReviewFormat.TABLE:
        _show(reviewed)
    else:
        say("\n".join(markdown.document(reviewed)).rstrip())
    return EXIT_OK


@contextmanager
def _progress() -> "Iterator[OnProgress]":
    """Show a bar on standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda phase, done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(phase: str, done: int, total: int | None) -> None:
            bar.update(task, description=phase, completed=done, total=total)

        yield show


def _show(review: "Review") -> None:
    from analytics_refreshd.incident import markdown

    print_table(
        ["incident", "database", "start", "end", "duration", "views", "runs", "first error", "detected after"],
        [[number, *_row(item)] for number, item in enumerate(review.incidents, 1)],
    )
    say(f"\nlog: {markdown.input_words(review)}")
    for log in review.databases:
        say(f"  {markdown.log_words(log)}")
    if not review.incidents:
        say("no incident in these lines" if review.databases else "nothing can be said")
    for number, item in enumerate(review.incidents, 1):
        say(f"\nincident {number}, {markdown.plain(item.database)}")
        for heading, lines in markdown.facts(item):
            say(f"  {heading.lower() + ':':<19} {lines[0]}")
            for line in lines[1:]:
                say(f"  {'':<19} {line}")
        for text in item.missing:
            say(f"  {'not in the log:':<19} {markdown.plain(text)}")
    for log in review.databases:
        for alert in log.alerts_outside:
            name = markdown.plain(log.database)
            say(f"\nalert outside of incidents, {name}: {markdown.alert_words(alert)}")
        for crash in log.crashes_outside:
            name = markdown.plain(log.database)
            say(f"\ndaemon killed or crashed outside of incidents, {name}: {markdown.crash_words(crash)}")
    for text in review.missing:
        say(f"missing: {markdown.plain(text)}")


def _row(item: "Incident") -> list[object]:
    from analytics_refreshd.incident import markdown

    error = item.first_sqlstate or item.first_error
    return [
        markdown.plain(item.database),
        clock(item.started_at),
        clock(item.ended_at) if item.ended_at else "not over",
        markdown.took(item.duration_seconds),
        len(item.views),
        markdown.counts(item.runs),
        "-" if error is None else markdown.plain(error.sqlstate or error.reason or "no SQLSTATE"),
        markdown.took(item.detected_after_seconds),
    ]
