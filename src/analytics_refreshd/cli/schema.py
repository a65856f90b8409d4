"""The `migrate` command: create, change or remove our schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analytics_refreshd.cli.common import (
    EXIT_FAILED,
    EXIT_OK,
    Format,
    FormatOption,
    console,
    example,
    load_config,
    note,
    print_exact,
    print_json,
    say,
    took,
)
from analytics_refreshd.cli.schema_options import (
    AcceptPublication,
    DiscardFrozen,
    ExportFrozen,
    ImportFrozen,
    Redact,
    SubscriberSql,
    Tenants,
    ToIncremental,
    Uninstall,
    Warehouse,
)
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.cli.warehouse import switch_warehouse, verify_warehouse
from analytics_refreshd.core.errors import PublicationError, UsageError

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.migrate import InstallProgress, MigrationReport, Populating, VerifyReport
    from analytics_refreshd.config import Config


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("analytics-refreshd migrate --dry-run | psql -d app"))(migrate)


def migrate(
    context: typer.Context,
    status: Annotated[bool, typer.Option("--status", help="Show what would be done, and change nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print SQL for psql instead of running it.")] = False,
    recreate_views: Annotated[
        bool,
        typer.Option("--replace", "--recreate-views", help="Rebuild views that differ, and keep what depends on them."),
    ] = False,
    uninstall: Uninstall = False,
    to_incremental: ToIncremental = False,
    to_plain: Annotated[bool, typer.Option("--plain", help="Switch back to plain views.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Compare the rollups with the plain definitions.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="With --verify: rebuild the rollups that differ.")] = False,
    subscriber_sql: SubscriberSql = False,
    accept_publication: AcceptPublication = False,
    export_frozen: ExportFrozen = None,
    import_frozen: ImportFrozen = None,
    discard_frozen: DiscardFrozen = None,
    tenants: Tenants = False,
    redact_failures: Redact = None,
    warehouse: Warehouse = None,
    output: FormatOption = Format.TABLE,
) -> int:
    """Create or upgrade views, functions and tables.

    It is safe to repeat, and safe to run twice at once.
    """
    files = export_frozen or import_frozen
    to_warehouse = warehouse is not None and not verify
    _refuse_more_than_one(
        [status, dry_run, uninstall, to_incremental, to_plain, verify, subscriber_sql, bool(files), to_warehouse]
    )
    if rebuild and not verify:
        raise UsageError("--rebuild goes with --verify")
    others = bool(uninstall or to_incremental or to_plain or verify or files or to_warehouse)
    _refuse_beside(others, {"--tenants": tenants, "--[no-]redact-failures": redact_failures is not None})
    _refuse_discarding(discard_frozen, to_plain or uninstall or import_frozen is not None)
    from analytics_refreshd.app.commands import migrate as command

    config = load_config(context)
    if status:
        return _report(command.planned(config, tenants=tenants, redact=redact_failures), output, done=False)
    wanted = _Wanted(recreate_views, accept_publication, tenants, redact_failures)
    if dry_run or subscriber_sql:
        return _print_sql(config, wanted, for_subscribers=subscriber_sql)
    if files:
        return _transfer(config, export_frozen, import_frozen, discard_frozen)
    if uninstall:
        return _uninstall(config, discard_frozen)
    if to_warehouse:
        return switch_warehouse(config, bool(warehouse))
    if verify:
        return (verify_warehouse if warehouse else _verify)(config, output, rebuild=rebuild)
    with _subscribers_told():
        if to_incremental or to_plain:
            return _switch(config, to_incremental, wanted, discard_frozen)
        return _migrate(config, output, wanted)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What of the user's a change may touch, and what it is to add."""

    views: bool
    published: bool
    tenants: bool
    redact: bool | None


def _print_sql(config: "Config", wanted: _Wanted, *, for_subscribers: bool) -> int:
    from analytics_refreshd.app.commands import migrate as command

    if for_subscribers:
        print_exact(command.subscriber_sql(config, tenants=wanted.tenants))
        return EXIT_OK
    script = command.as_sql(
        config,
        recreate_views=wanted.views,
        accept_publication=wanted.published,
        tenants=wanted.tenants,
        redact=wanted.redact,
    )
    print_exact(script)
    return EXIT_OK


def _uninstall(config: "Config", discard_frozen: datetime | None) -> int:
    from analytics_refreshd.app.commands import migrate as command

    dropped = command.uninstall(config, discard_frozen=discard_frozen.date() if discard_frozen else None)
    say(f"dropped: {', '.join(dropped)}" if dropped else "nothing of ours is installed")
    return EXIT_OK


def _transfer(config: "Config", target: Path | None, source: Path | None, discard_frozen: datetime | None) -> int:
    from analytics_refreshd.app.commands import transfer as command

    if target is not None and source is not None:
        raise UsageError("give one of --export-frozen and --import-frozen")
    if target is not None:
        say(f"exported: {command.export_frozen(config, target)}")
    elif source is not None:
        day = discard_frozen.date() if discard_frozen else None
        say(f"imported: {command.import_frozen(config, source, discard_frozen=day, told=_share)}")
    return EXIT_OK


def _migrate(config: "Config", output: Format, wanted: _Wanted) -> int:
    from analytics_refreshd.app.commands import migrate as command

    report = command.migrate(
        config,
        recreate_views=wanted.views,
        accept_publication=wanted.published,
        tenants=wanted.tenants,
        redact=wanted.redact,
        populating=_progress,
        told=_share,
    )
    return _report(report, output, done=True)


def _refuse_discarding(day: datetime | None, allowed: bool) -> None:
    if day is not None and not allowed:
        raise UsageError("--discard-frozen goes with --plain, --uninstall or --import-frozen")


def _refuse_beside(others: bool, given: dict[str, bool]) -> None:
    for name in [name for name, is_given in given.items() if is_given and others]:
        raise UsageError(
            f"{name} goes with none of --uninstall, --incremental, --plain, --verify, --warehouse and frozen figures"
        )


def _refuse_more_than_one(chosen: list[bool]) -> None:
    if sum(chosen) > 1:
        raise UsageError(
            "give one of --status, --dry-run, --uninstall, --incremental, --plain, --verify, --subscriber-sql, "
            "--export-frozen, --import-frozen and --[no-]warehouse"
        )


@contextmanager
def _subscribers_told() -> Iterator[None]:
    """Print on a refusal what subscribers need. Nothing else is on standard output then."""
    try:
        yield
    except PublicationError as error:
        print_exact(error.subscriber_sql)
        raise


def _progress(step: "Populating") -> None:
    if step.seconds is None:
        note(f"populating view {step.number} of {step.total}: {step.view_name} …")
    else:
        note(f"populating view {step.number} of {step.total}: {step.view_name} took {took(step.seconds)}")


def _report(report: "MigrationReport", output: Format, *, done: bool) -> int:
    if output is Format.JSON:
        print_json(
            {
                "found": report.found,
                "app_schema": report.app_schema,
                "mode": report.mode,
                "version_found": report.version_found,
                "version": report.version,
                "steps": list(report.steps),
                "warnings": list(report.warnings),
                "done": done,
            }
        )
        return EXIT_OK
    out = console()
    out.print(f"found: {report.found} (version {report.version_found}, {report.mode})", markup=False)
    for step in report.steps:
        out.print(f"  {'done' if done else 'to do'}: {step}", markup=False)
    if not report.steps:
        out.print("  nothing to do", markup=False)
    for warning in report.warnings:
        note(f"note: {warning}")
    return EXIT_OK


def _switch(config: "Config", to_incremental: bool, wanted: _Wanted, discard_frozen: datetime | None) -> int:
    from analytics_refreshd.app.commands import migrate as command

    done, warnings = command.switch(
        config,
        to_incremental=to_incremental,
        replace=wanted.views,
        accept_publication=wanted.published,
        discard_frozen=discard_frozen.date() if discard_frozen else None,
        told=_share,
    )
    for step in done or ("nothing to do",):
        say(f"done: {step}" if done else step)
    for warning in warnings:
        note(f"note: {warning}")
    return EXIT_OK


def _verify(config: "Config", output: Format, *, rebuild: bool) -> int:
    from analytics_refreshd.app.commands import migrate as command

    report = command.verify(config)
    if output is Format.JSON:
        views = [asdict(view) for view in report.views]
        found = {"exact": report.ok, "differences": report.differences, "problems": report.problems, "views": views}
        print_json(found)
    else:
        _show_verification(report)
    if report.ok or not rebuild or not report.differences:
        return EXIT_OK if report.ok else EXIT_FAILED
    return EXIT_OK if command.rebuild(config, told=_share).ok else EXIT_FAILED


def _share(step: "InstallProgress") -> None:
    note(f"{step.doing}: {step.share:.0%}")


def _show_verification(report: "VerifyReport") -> None:
    if report.views:
        print_table(
            ["view", "rows", "missing", "too many"],
            [[view.view_name, view.rows, view.missing, view.extra] for view in report.views],
        )
    for view in report.views:
        for kind, row in view.first:
            say(f"{view.view_name} {kind}: {row}")
    for problem in report.problems:
        say(f"{problem}: `analytics-refreshd migrate --replace` builds it again")
    if report.differences:
        say(f"{report.differences} rows differ; --rebuild rebuilds the rollups")
    elif report.ok:
        say("exact" if report.views else "the views are plain, and by our definitions")
