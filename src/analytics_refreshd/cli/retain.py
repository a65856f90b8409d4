"""The `retain` command: delete old rows of the action log, and keep their figures."""

from typing import TYPE_CHECKING, Annotated

import typer

from analytics_refreshd.cli.common import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_UNREACHABLE,
    Format,
    FormatOption,
    clock,
    example,
    load_config,
    note,
    print_json,
    progress_teller,
    say,
    took,
)
from analytics_refreshd.core.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta

    from analytics_refreshd.app.commands.retain import Preview, Retained
    from analytics_refreshd.core.retention_months import OldPartition


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("analytics-refreshd retain --dry-run"))(retain)


def retain(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and the token to confirm.")] = False,
    confirm: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Delete what --dry-run showed. Good for a day.")
    ] = None,
    max_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Let this share of all rows go, this once. Default: [retention] max_share."),
    ] = None,
    undo: Annotated[
        str | None, typer.Option("--undo", metavar="MONTH", help="Put a month back that went as a whole.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> int:
    """Delete rows of action_results that are older than `[retention] rows`.

    Portion by portion, beside writers and refreshes. What is left goes at the next run. A partition that is older as a
    whole is detached, and dropped after `[retention] undo`.
    """
    from analytics_refreshd.app.commands import retain as command

    if undo is not None and (dry_run or confirm is not None):
        raise UsageError("--undo goes with neither --dry-run nor --confirm")
    config = load_config(context)
    if undo is not None:
        return _back(command.undo(config, undo, told=note), config.retention.undo)
    if dry_run:
        return _show(command.preview(config, max_share=max_share), output)
    try:
        done = command.retain(config, confirm=confirm, max_share=max_share, told=progress_teller("deleted"))
    except command.OtherRunError as error:
        note(f"analytics-refreshd: {error}")
        return EXIT_UNREACHABLE
    return _report(done, output)


def _show(found: "Preview", output: Format) -> int:
    survey = found.survey
    if output is Format.JSON:
        print_json(
            {
                "database": found.database,
                "bound": found.bound,
                "rows_to_go": survey.rows_to_go,
                "rows": survey.rows,
                "share": round(survey.share, 4),
                "oldest_at": survey.oldest_at,
                "rows_without_time": survey.timeless,
                "figures": "kept" if found.keep_figures else "lost",
                "frozen_until": survey.frozen_until,
                "months": {
                    "takes": list(found.takes),
                    "drops": list(found.drops),
                    "to_put_back": list(found.months.waiting()),
                    "member": found.months.member,
                },
                "refused": found.refused,
                "token": None if found.refused else found.token,
            }
        )
        return EXIT_FAILED if found.refused else EXIT_OK
    say(f"database {found.database}: rows older than {clock(found.bound)} may go")
    share = f"{survey.rows_to_go:,} of about {survey.rows:,} rows ({survey.share:.1%})"
    say(f"  to go: {share}, the oldest of {clock(survey.oldest_at)}")
    if survey.timeless:
        say(f"  without a time: {survey.timeless:,} rows, which stay")
    if found.keep_figures and survey.frozen_until is None:
        say("  figures: none are frozen")
    elif found.keep_figures:
        say(f"  figures: stay, frozen until {clock(survey.frozen_until)}")
    else:
        say('  figures: those of deleted rows go with them (keep = "nothing")')
    _say_months(found)
    if found.refused:
        note(f"analytics-refreshd: {found.refused}")
        return EXIT_FAILED
    say(f"nothing was deleted; to delete: analytics-refreshd retain --confirm {found.token}")
    return EXIT_OK


def _say_months(found: "Preview") -> None:
    if found.takes:
        say(f"  months: {', '.join(found.takes)} go as a whole, and can be put back for a while")
    elif found.months.old and not found.months.member:
        names = ", ".join(str(each) for each in found.months.old)
        say(f"  months: {names} are emptied row by row, since this role is no member of {found.months.owner}:")
        say("    deploy/sql/retention.sql with -v months=1 makes it one")
    if found.drops:
        say(f"  to drop for good: {', '.join(found.drops)}")


def _back(partition: "OldPartition", kept: "timedelta") -> int:
    say(f"{partition} is a partition again, and stays for {took(kept.total_seconds())} before `retain` takes it again")
    return EXIT_OK


def _report(done: "Retained", output: Format) -> int:
    if output is Format.JSON:
        print_json(
            {
                "run_id": done.run_id,
                "bound": done.bound,
                "outcome": str(done.end),
                "reason": done.reason,
                "rows_deleted": done.rows_deleted,
                "rows_left": done.rows_left,
                "portions": done.portions,
                "months": {
                    "detached": list(done.months.detached),
                    "dropped": list(done.months.dropped),
                    "left": list(done.months.left),
                },
                "seconds": round(done.seconds, 3),
            }
        )
        return EXIT_OK
    how = f"in {done.portions:,} portion{'' if done.portions == 1 else 's'} and {took(done.seconds)}"
    say(f"deleted {done.rows_deleted:,} rows older than {clock(done.bound)}, {how}")
    if done.months.detached:
        say(f"detached {', '.join(done.months.detached)}: `analytics-refreshd retain --undo MONTH` puts one back")
    if done.months.dropped:
        say(f"dropped {', '.join(done.months.dropped)}")
    for text in done.months.left:
        note(f"analytics-refreshd: {text}")
    if done.reason:
        say(f"{done.reason}: the next run goes on")
    elif done.rows_left:
        say(f"{done.rows_left:,} rows were locked, or came meanwhile: the next run takes them")
    return EXIT_OK
