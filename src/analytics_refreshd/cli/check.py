"""The `check` command: find problems of configuration and database."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from analytics_refreshd.cli.common import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_OK,
    Format,
    FormatOption,
    clock,
    config_path,
    example,
    load_config,
    print_json,
    say,
)
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.wording import cost_in_words

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.check import Finding, IndexReport, QueryReport

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("analytics-refreshd --config /etc/analytics-refreshd/config.toml check"))(check)


def check(
    context: typer.Context,
    indexes: Annotated[
        bool, typer.Option("--indexes", help="Instead: measure on a copy what a covering index would gain.")
    ] = False,
    queries: Annotated[
        bool, typer.Option("--queries", help="Instead: list the slowest statements on the log and its views.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> int:
    """Check configuration, connection, privileges and database.

    Each finding says what to do about it.
    """
    from analytics_refreshd.app.commands import check as command

    if indexes and queries:
        raise UsageError("give --indexes or --queries, not both")
    config = load_config(context)
    if queries:
        return _show_queries(command.queries(config), output)
    if indexes:
        return _show_indexes(command.indexes(config), output)
    findings = command.check(config, config.warnings(config_path(context)))
    if output is Format.JSON:
        print_json([_as_json(finding) for finding in findings])
    else:
        _show(findings)
    errors = {finding.name for finding in findings if finding.level == "error"}
    if "configuration" in errors:
        return EXIT_CONFIG
    return EXIT_FAILED if errors else EXIT_OK


def _as_json(finding: "Finding") -> dict[str, str | None]:
    return {"name": finding.name, "level": str(finding.level), "text": finding.text, "remedy": finding.remedy}


def _show(findings: "list[Finding]") -> None:
    print_table(
        ["check", "result", "finding"],
        [[item.name, Text(item.level, style=_COLOURS.get(item.level, "")), item.text] for item in findings],
        prose=["finding"],
    )
    todo: dict[str, list[str]] = {}
    for item in findings:
        if item.remedy:
            todo.setdefault(item.remedy, []).append(item.name)
    if todo:
        say("\nWhat to do:")
    for remedy, names in todo.items():
        say(f"  {', '.join(dict.fromkeys(names))}: {remedy}")
    missing = {item.remedy for item in findings if item.level == "error" and (item.remedy or "").startswith("GRANT ")}
    if len(missing) > 1:
        say("  or all that the daemon's role needs, as the owner of the views: deploy/sql/grants.sql")


def _show_queries(found: "QueryReport", output: Format) -> int:
    if output is Format.JSON:
        print_json(asdict(found))
        return EXIT_OK
    if found.queries:
        since = "an unknown time" if found.since is None else clock(found.since)
        say(f"the slowest statements on the log and its views, as pg_stat_statements counts them since {since}:")
        print_table(
            ["mean ms", "slowest ms", "calls", "all, s", "cost of all", "statement"],
            [
                [
                    f"{query.mean_ms:,.1f}", f"{query.max_ms:,.1f}", query.calls, f"{query.total_ms / 1000:,.1f}",
                    cost_in_words(query.cost), query.query,
                ]
                for query in found.queries
            ],
            prose=["cost of all", "statement"],
        )  # fmt: skip
    elif found.problem is None:
        say("pg_stat_statements has counted no statement on the log or its views yet")
    if found.problem is not None:
        say(f"{found.problem}: {found.remedy}")
    return EXIT_OK


def _show_indexes(found: "IndexReport", output: Format) -> int:
    if output is Format.JSON:
        print_json(asdict(found))
        return EXIT_OK
    if found.present:
        say(f"{found.present} covers the queries that read rows already")
        return EXIT_OK
    if not found.gains:
        say(f"{found.rows_copied:,} rows are too few to measure anything")
        return EXIT_OK
    say(f"on a copy of the newest {found.rows_copied:,} of about {found.rows:,} rows, for the newest tenth of them;")
    say("the copy was a temporary table: yours was read, and neither changed nor locked against anybody")
    print_table(
        ["query", "blocks", "with it", "ms", "with it, ms"],
        [
            [gain.query, gain.blocks_before, gain.blocks_with, f"{gain.ms_before:.1f}", f"{gain.ms_with:.1f}"]
            for gain in found.gains
        ],
    )
    say(f"size: about {found.size_bytes / 1e6:,.0f} MB for all rows")
    say(f"an insert took {found.insert_us_before:.1f} µs a row, with it {found.insert_us_with:.1f} µs")
    say("only pages that VACUUM has seen gain; to create it, beside writers:")
    for line in found.commands:
        say(f"  {line}")
    return EXIT_OK
