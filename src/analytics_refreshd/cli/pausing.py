"""`pause` and `resume`: no refreshes for a while, always with an end."""

from typing import Annotated

import typer

from analytics_refreshd.cli.common import EXIT_OK, clock, duration, load_config, seconds_of


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
    from analytics_refreshd.app.commands.pause import pause_refreshes

    ends_at = pause_refreshes(load_config(context), seconds_of(length), reason)
    typer.echo(f"paused until {clock(ends_at)}; `analytics-refreshd resume` ends it earlier")
    return EXIT_OK


def resume(context: typer.Context) -> int:
    """End a pause now."""
    from analytics_refreshd.app.commands.pause import resume_refreshes

    ended = resume_refreshes(load_config(context))
    typer.echo("resumed" if ended else "nothing was paused")
    return EXIT_OK
