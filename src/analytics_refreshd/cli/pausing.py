"""`pause` and `resume`: no refreshes for a while, always with an end."""

from typing import Annotated

import typer

from analytics_refreshd.app.pausing import pause_refreshes, resume_refreshes
from analytics_refreshd.cli.common import EXIT_OK, clock, duration, load_config
from analytics_refreshd.config import parse_duration


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(pause)
    app.command()(resume)


def pause(
    context: typer.Context,
    length: Annotated[str, typer.Option("--for", help="How long, for example 2h; at most 7d.", callback=duration)],
    reason: Annotated[str, typer.Option(help="Why; shown in status, page and alerts.")],
) -> int:
    """Suspend refreshes until a time; a running one ends as usual."""
    ends_at = pause_refreshes(load_config(context), parse_duration(length), reason)
    typer.echo(f"paused until {clock(ends_at)}; `analytics-refreshd resume` ends it earlier")
    return EXIT_OK


def resume(context: typer.Context) -> int:
    """End a pause now."""
    ended = resume_refreshes(load_config(context))
    typer.echo("resumed" if ended else "nothing was paused")
    return EXIT_OK
