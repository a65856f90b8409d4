"""The `erase` command: erase what the action log holds of somebody, with a receipt."""

from dataclasses import asdict
from pathlib import Path
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
)
from analytics_refreshd.core.erasure import Mode, Scope, Subject
from analytics_refreshd.core.errors import UsageError

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.erase import Erased, Preview, Receipt, Wanted

NOT_REACHED = (
    "backups and copies, also files of `migrate --export-frozen`: after a restore, `erase --replay`",
    "the write-ahead log, its archive, and replicas by logical replication",
    "log files of the server, of the daemon and of who received its alerts; what a running daemon remembers",
    "the application's own tables: users, triggers, organizations, partitions that others detached, copies of the log",
)
"""What no command of ours erases."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("analytics-refreshd erase --user 4711 --dry-run"))(erase)


def erase(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Rows of all triggers of this user.")] = None,
    organization: Annotated[
        str | None, typer.Option(metavar="ID", help="Rows of all triggers of this organization.")
    ] = None,
    trigger: Annotated[str | None, typer.Option(metavar="ID", help="Rows of this trigger.")] = None,
    mode: Annotated[
        Mode, typer.Option(help="redact empties texts and hashes ids, and figures stay; delete takes the rows.")
    ] = Mode.REDACT,
    replay: Annotated[
        bool, typer.Option("--replay", help="After a restore: do again what receipts say was erased.")
    ] = False,
    receipts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --replay: receipts that the database lost, as JSON.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be erased, and the token to confirm.")
    ] = False,
    confirm: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Erase what --dry-run showed. Good for a day.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> int:
    """Erase what the action log holds of somebody, with a receipt.

    Portion by portion, beside writers and refreshes. The views are refreshed at the end.
    """
    wanted = _wanted([user, organization, trigger], mode, replay=replay, receipts=receipts)
    from analytics_refreshd.app.commands import erase as command

    config = load_config(context)
    if dry_run:
        return _show(command.preview(config, wanted), wanted, output)
    try:
        done = command.erase(config, wanted, confirm=confirm, told=progress_teller("erased"))
    except command.OtherRunError as error:
        note(f"analytics-refreshd: {error}")
        return EXIT_UNREACHABLE
    return _report(done, output)


def _wanted(given: list[str | None], mode: Mode, *, replay: bool, receipts: Path | None) -> "Wanted":
    from analytics_refreshd.app.commands.erase import Wanted

    subjects = [
        Subject(scope, identifier) for scope, identifier in zip(Scope, given, strict=True) if identifier is not None
    ]
    if len(subjects) + replay != 1:
        raise UsageError("give one of --user, --organization, --trigger and --replay")
    if receipts is not None and not replay:
        raise UsageError("--receipts goes with --replay")
    return Wanted(subjects[0] if subjects else None, mode, receipts)


def _show(found: "Preview", wanted: "Wanted", output: Format) -> int:
    status = EXIT_FAILED if found.refused else EXIT_OK
    if output is Format.JSON:
        print_json(
            {
                "database": found.database,
                "mode": None if wanted.subject is None else str(wanted.mode),
                "erasures": found.erasures,
                "triggers": found.triggers,
                "rows": found.rows,
                "rows_unlinked": found.rows_unlinked,
                "frozen_executions": found.frozen_executions,
                "questions": found.questions,
                "other_keys": list(found.other_keys),
                "not_reached": list(NOT_REACHED),
                "refused": found.refused,
                "token": None if found.refused else found.token,
            }
        )
        return status
    what = (
        f"{found.erasures} erasures again" if wanted.subject is None else f"{wanted.mode} of one {wanted.subject.scope}"
    )
    say(f"database {found.database}: {what}")
    say(f"  triggers: {found.triggers:,}")
    say(f"  rows: {found.rows:,}")
    say(f"  frozen executions that go: {found.frozen_executions:,}")
    say(f"  questions of the pages that go: {found.questions:,}")
    say(f"  rows of the whole log that no trigger links to a user: {found.rows_unlinked:,}")
    for key_id in found.other_keys:
        note(f"receipts were written with key {key_id}, which is not that of `[retention] erasure_key_file`")
    if found.refused:
        note(f"analytics-refreshd: {found.refused}")
        return status
    say("not reached:")
    for place in NOT_REACHED:
        say(f"  {place}")
    say(f"nothing was erased; to erase, say --confirm {found.token} instead of --dry-run")
    return status


def _report(done: "Erased", output: Format) -> int:
    if output is Format.JSON:
        print_json(
            {
                "receipts": [asdict(receipt) for receipt in done.receipts],
                "views_failed": list(done.views_failed),
                "not_reached": list(NOT_REACHED),
                "commands": list(done.commands),
            }
        )
    else:
        for receipt in done.receipts:
            _show_receipt(receipt)
        if not done.receipts:
            say("nothing to erase again")
        say("the server's files hold dead rows and statistics until these commands ran; each locks its table:")
        for command in done.commands:
            say(f"  {command}")
        say("not reached:")
        for place in NOT_REACHED:
            say(f"  {place}")
    for view in done.views_failed:
        note(f"analytics-refreshd: {view} could not be refreshed and may show what was erased: run this again")
    return EXIT_OK if done.complete else EXIT_FAILED


def _show_receipt(receipt: "Receipt") -> None:
    say(f"receipt {receipt.erasure_id}")
    again = f", again {receipt.replay_of}" if receipt.replay_of else ""
    say(f"  {receipt.mode} of one {receipt.scope}, {receipt.subject_hash} by key {receipt.key_id}{again}")
    say(f"  from {clock(receipt.begun_at)} to {clock(receipt.ended_at)} by role {receipt.actor}")
    say(f"  triggers: {receipt.triggers:,}; rows: {receipt.rows_erased:,}")
    say(f"  texts and questions of ours: {receipt.texts_erased:,}; frozen executions: {receipt.frozen_executions:,}")
    say(f"  rows of the whole log that no trigger links to a user: {receipt.rows_unlinked:,}")
    left = "" if not receipt.rows_left else f"; {receipt.rows_left:,} rows are left"
    say(f"  outcome: {receipt.outcome}{f' ({receipt.reason})' if receipt.reason else ''}{left}")
