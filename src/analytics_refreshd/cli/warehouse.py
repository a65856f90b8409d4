"""What of `migrate` is about a warehouse."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from analytics_refreshd.cli.common import EXIT_FAILED, EXIT_OK, Format, note, print_json, say
from analytics_refreshd.cli.tables import print_table

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.migrate import InstallProgress
    from analytics_refreshd.app.commands.warehouse import WarehouseReport
    from analytics_refreshd.config import Config


def switch_warehouse(config: "Config", wanted: bool) -> int:
    """Create what feeds a warehouse, or drop it."""
    from analytics_refreshd.app.commands import warehouse as command

    done = (command.install if wanted else command.remove)(config, told=_share)
    for step in done or ("nothing to do",):
        say(f"done: {step}" if done else step)
    if wanted:
        say("the daemon exports the rollups with its next run, where [warehouse] is in its configuration")
    return EXIT_OK


def verify_warehouse(config: "Config", output: Format, *, rebuild: bool) -> int:
    """Compare the warehouse with the rollups; export again where asked."""
    from analytics_refreshd.app.commands import warehouse as command

    report = command.verify(config)
    _show(report, output)
    if report.differences and rebuild:
        report = command.rebuild(config, told=_share)
    return EXIT_FAILED if report.differences else EXIT_OK


def _show(report: "WarehouseReport", output: Format) -> None:
    if output is Format.JSON:
        tables = [asdict(table) for table in report.tables]
        print_json(
            {
                "exact": not report.differences,
                "differences": report.differences,
                "epoch": report.epoch,
                "batch": report.batch,
                "tables": tables,
                "months_due": list(report.months_due),
            }
        )
        return
    print_table(
        ["table", "cells", "missing", "too many"],
        [[table.table, table.cells, table.missing, table.extra] for table in report.tables],
    )
    for table in report.tables:
        for kind, cell in table.first:
            say(f"{table.table} {kind}: {cell}")
    if report.months_due:
        months = ", ".join(f"{month // 100}-{month % 100:02}" for month in report.months_due)
        say(f"not compared: rows of {months}, which the daemon loads first")
    where = f"at batch {report.batch} of epoch {report.epoch}"
    if report.differences:
        say(f"{report.differences} cells differ {where}; --rebuild exports the rollups again")
    else:
        say(f"exact {where}")


def _share(step: "InstallProgress") -> None:
    note(f"{step.doing}: {step.share:.0%}")
