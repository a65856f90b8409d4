"""The `run` and `refresh` commands: the daemon, and one refresh."""

from typing import Annotated

import typer

from analytics_refreshd.cli.common import (
    EXIT_FAILED,
    EXIT_INTERNAL,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_UNREACHABLE,
    Format,
    FormatOption,
    clock,
    coloured,
    config_path,
    console,
    error_words,
    example,
    load_config,
    note,
    print_json,
    took,
)
from analytics_refreshd.cli.runs import run_as_json
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.errors import ConfigError, RefreshdError
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=example("analytics-refreshd --config /etc/analytics-refreshd/config.toml run"))(run)
    app.command(epilog=example("analytics-refreshd refresh --wait --format json"))(refresh)


def run(context: typer.Context) -> int:
    """Run the daemon.

    SIGTERM or Ctrl-C stops it. SIGHUP reloads the configuration.
    """
    from analytics_refreshd.app import daemon

    config = load_config(context)
    try:
        return daemon.serve(config, reload=lambda: load_config(context), warnings=config.warnings(config_path(context)))
    except ConfigError:
        raise
    except RefreshdError as error:
        note(f"analytics-refreshd: {error}")
        return EXIT_INTERNAL


def refresh(
    context: typer.Context,
    wait: Annotated[
        bool, typer.Option("--wait", help="If a refresh is running, wait for its end and answer with it.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> int:
    """Refresh once, now.

    For cron, a CronJob, or a person. If another refresh is running, it is skipped, or with --wait joined.
    """
    from analytics_refreshd.app.commands.refresh import refresh_once

    finished = refresh_once(load_config(context), wait=wait)
    if finished.origin is Origin.SCHEDULE:
        note(f"joined the run {finished.run_id} of {finished.replica}, which began at {clock(finished.started_at)}")
    if output is Format.JSON:
        print_json(run_as_json(finished))
    else:
        _show(finished)
    return _exit_code(finished)


def _exit_code(run: Run) -> int:
    if run.reason is Reason.CONNECT and run.outcome is not Outcome.OK:
        return EXIT_UNREACHABLE
    match run.outcome:
        case Outcome.OK | Outcome.SKIPPED:
            return EXIT_OK
        case Outcome.PARTIAL:
            return EXIT_PARTIAL
        case _:
            return EXIT_FAILED


def _show(run: Run) -> None:
    if run.outcome is Outcome.SKIPPED:
        why = {
            Reason.OVERLAP: "another refresh is running; `analytics-refreshd status` shows it, and --wait waits for it",
            Reason.PAUSED: "refreshes are paused; `analytics-refreshd resume` ends that",
        }
        note(f"skipped: {why.get(run.reason or Reason.OTHER, run.error or 'nothing was due')}")
        return
    print_table(
        ["view", "result", "took", "rows", "error"],
        [
            [
                result.view,
                coloured("ok" if result.success else "failed"),
                took(result.duration_seconds),
                result.rows,
                None if result.success else error_words(result.sqlstate, result.error),
            ]
            for result in run.views
        ],
        prose=["error"],
    )
    line = coloured(run.outcome.value if run.outcome else "unknown")
    line.append(f" in {took(run.duration_seconds)}")
    console().print(line)
    if not run.views and run.error:
        note(run.error)
