"""The `partitions` command: turn the action log into months, and make the months to come."""

from typing import TYPE_CHECKING, Annotated

import typer

from analytics_refreshd.cli.common import (
    EXIT_FAILED,
    EXIT_OK,
    Format,
    FormatOption,
    clock,
    example,
    load_config,
    note,
    print_exact,
    print_json,
    say,
)
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.conversion import partman_configuration
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.partitions import LOCK_MS, Choice

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.partitions import Plan
    from analytics_refreshd.config import Config

_OPEN = frozenset({Choice.MAKE, Choice.OVERLAPS, Choice.TAKEN})


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("analytics-refreshd partitions --plan"))(partitions)


def partitions(
    context: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="Print the SQL, its locks, and what forbids it.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Make the months to come.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show the partitions, and which months lack one.")] = False,
    confirm: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="With --apply: turn a table into months, as --plan showed.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> int:
    """Keep action_results in months, two of them ahead.

    A table that is not partitioned becomes the DEFAULT partition of a new one. No row is copied, and readers and
    writers wait for milliseconds.
    """
    if [plan, apply, status].count(True) != 1:
        raise UsageError("give one of --plan, --apply and --status")
    if confirm is not None and not apply:
        raise UsageError("--confirm goes with --apply")
    from analytics_refreshd.app.commands import partitions as command

    config = load_config(context)
    if apply:
        return _done(command.apply(config, confirm=confirm, told=note), output)
    found = command.planned(config)
    if status:
        return _status(found, output)
    return _plan(found, output, config)


def _done(done: tuple[str, ...], output: Format) -> int:
    if output is Format.JSON:
        print_json({"done": list(done)})
        return EXIT_OK
    for step in done:
        say(f"done: {step}")
    if not done:
        say("nothing to do")
    return EXIT_OK


def _plan(found: "Plan", output: Format, config: "Config") -> int:
    code = EXIT_FAILED if found.obstacles else EXIT_OK
    if found.layout.partman:
        print_exact(partman_configuration(found.layout, config.retention.rows))
        return EXIT_OK
    if output is Format.JSON:
        print_json(
            {
                "database": found.database,
                "obstacles": list(found.obstacles),
                "said": list(found.said),
                "steps": [
                    {
                        "title": step.title,
                        "locks": [
                            {"mode": lock.mode, "relation": lock.relation, "seconds": lock.seconds}
                            for lock in step.locks
                        ],
                        "commands": list(step.commands),
                    }
                    for step in found.steps
                ],
                "months": _months(found),
                "token": found.token,
            }
        )
        return code
    print_exact(_as_sql(found))
    for problem in found.obstacles:
        note(f"analytics-refreshd: {problem}")
    if found.token:
        note(f"nothing was changed; to do it: analytics-refreshd partitions --apply --confirm {found.token}")
    return code


def _as_sql(found: "Plan") -> str:
    lines = [f"-- database {found.database}, {found.layout.schema}.action_results: about {found.layout.rows:,} rows"]
    lines += [f"-- first: {text}" for text in found.said]
    lines += [f"-- forbidden: {text}" for text in found.obstacles]
    lines += [f"-- {each.month}: {each.why}" for each in found.decisions]
    for number, step in enumerate(found.steps, 1):
        lines += ["", f"-- {number}. {step.title}"]
        lines += [f"--    {lock}" for lock in step.locks]
        lines += ["begin;", *(f"{text.strip().removesuffix(';')};" for text in step.commands), "commit;"]
    if any(lock.mode == "ACCESS EXCLUSIVE" for step in found.steps for lock in step.locks):
        lines += ["", f"-- a lock that is not had within {LOCK_MS} ms is given up, and asked for again after a pause"]
    return "\n".join(lines) + "\n"


def _status(found: "Plan", output: Format) -> int:
    layout = found.layout
    problems = [f"{each.month} {each.why}" for each in found.decisions if each.choice in _OPEN]
    problems += [f"{name} reads a part of the rows alone" for name in layout.stale_views if layout.key is not None]
    problems += [f"an unfinished run left {name}, which refuses rows of its month" for name in layout.leftovers]
    if layout.key is None:
        problems = ["action_results is not in months: `analytics-refreshd partitions --plan` says how it becomes so"]
    code = EXIT_FAILED if problems else EXIT_OK
    if output is Format.JSON:
        rows = [
            {
                "partition": f"{each.schema}.{each.name}",
                "default": each.default,
                "since": each.since,
                "until": each.until,
                "rows": each.rows,
            }
            for each in layout.partitions
        ]
        print_json({"key": layout.key, "partitions": rows, "months": _months(found), "problems": problems})
        return code
    rows_of = [
        [
            f"{each.schema}.{each.name}",
            "everything else" if each.default else f"{clock(each.since)} to {clock(each.until)}",
            f"{each.rows:,}",
        ]
        for each in layout.partitions
    ]
    print_table(["partition", "holds", "rows"], rows_of)
    for each in found.decisions:
        if each.choice not in _OPEN:
            say(f"{each.month}: {each.why}")
    for problem in problems:
        note(f"analytics-refreshd: {problem}")
    return code


def _months(found: "Plan") -> list[dict[str, str]]:
    return [{"month": str(each.month), "choice": str(each.choice), "why": each.why} for each in found.decisions]
