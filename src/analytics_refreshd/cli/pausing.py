"""The `pause` and `resume` commands."""

from typing import Annotated

import typer

from analytics_refreshd.cli.common import (
    EXIT_OK,
    Format,
    FormatOption,
    clock,
    duration,
    example,
    load_config,
    print_json,
    say,
    seconds_of,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=example('analytics-refreshd pause --for 2h --reason "nightly import"'))(pause)
    app.command(epilog=example("analytics-refreshd resume"))(resume)


def pause(
    context: typer.Context,
    length: Annotated[str, typer.Option("--for", help="How long, for example 2h. At most 7d.", callback=duration)],
    reason: Annotated[str, typer.Option(help="Why. Shown in status, page and alerts.")],
    output: FormatOption = Format.TABLE,
) -> int:
    """Pause refreshes for a time.

    A running refresh ends as usual. The pause ends by itself, or with `resume`.
    """
    from analytics_refreshd.app.commands.pause import pause_refreshes

    ends_at = pause_refreshes(load_config(context), seconds_of(length), reason)
    if output is Format.JSON:
        print_json({"paused": True, "ends_at": ends_at, "reason": reason.strip()})
        return EXIT_OK
    say(f"paused until {clock(ends_at)}; `analytics-refreshd resume` ends it earlier")
    return EXIT_OK


def resume(context: typer.Context, output: FormatOption = Format.TABLE) -> int:
    """End the pause now."""
    from analytics_refreshd.app.commands.pause import resume_refreshes

    ended = resume_refreshes(load_config(context))
    if output is Format.JSON:
        print_json({"paused": False, "pauses_ended": ended})
        return EXIT_OK
    say("resumed" if ended else "nothing was paused")
    return EXIT_OK
