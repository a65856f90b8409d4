"""Prints `status` and `history`."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Annotated, Any

import typer

from analytics_refreshd.cli.common import (
    EXIT_FAILED,
    EXIT_OK,
    CsvFormatOption,
    Format,
    FormatOption,
    FormatWithCsv,
    clock,
    coloured,
    console,
    error_words,
    load_config,
    note,
    print_csv,
    print_json,
    print_table,
    span_or_moment,
    took,
)
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.model import Outcome, Run
from analytics_refreshd.core.staleness import Verdict
from analytics_refreshd.core.wording import bytes_in_words, seconds_in_words


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(status)
    app.command()(history)


def status(context: typer.Context, output: FormatOption = Format.TABLE) -> int:
    """How fresh each view is, who leads, what runs and fires. Exit 1 where anything is stale or failing."""
    from analytics_refreshd.app.commands.status import database_snapshot
    from analytics_refreshd.observe.status.document import status_document, status_json

    snapshot = database_snapshot(load_config(context))
    if output is Format.JSON:
        print_json(json.loads(status_json(snapshot)))
    else:
        show_status(status_document(snapshot))
    return EXIT_OK if snapshot.healthy else EXIT_FAILED


def show_status(document: Mapping[str, Any]) -> None:
    """Print a status document: a table of the views, and below it what else is known."""
    from analytics_refreshd.observe.status.view_fields import VIEW_COLUMNS

    columns = [(column.heading, _CELL.get(column.kind.name, _as_it_is), column.path) for column in VIEW_COLUMNS]
    print_table(
        [heading for heading, _, _ in columns],
        [[cell(reduce(_within, path, view)) for _, cell, path in columns] for view in document["views"]],
    )
    out = console()
    out.print()
    for line in (*_about_database(document), *_about_views(document["views"]), *_about_alerts(document)):
        out.print(line, markup=False)


def _as_it_is(value: object) -> object:
    return coloured(value) if isinstance(value, Verdict) else value


_CELL: Mapping[str, Callable[[Any], object]] = {"seconds": seconds_in_words, "bytes": bytes_in_words, "time": clock}
"""What a column's kind looks like on a terminal."""


def _within(value: Mapping[str, Any] | None, name: str) -> Any:
    return None if value is None else value[name]


def _about_database(document: Mapping[str, Any]) -> Iterator[str]:
    leader, delta, progress, pause = (document[name] for name in ("leader", "delta", "progress", "pause"))
    if leader is None:
        yield "leader: nobody (no daemon holds the lock)"
    else:
        other = "" if leader["ours"] else ", which is not one of our daemons"
        yield f"leader: {leader['replica']} (pid {leader['pid']}){other}"
    if delta is not None and delta["mode"] != "plain":
        yield from _about_delta(delta)
    if progress is not None:
        doing = f" on {progress['view']}" if progress["view"] else ""
        yield f"running: for {took(progress['elapsed_seconds'])}{doing}, run {progress['run_id']}"
        if progress["blocker"] is not None:
            yield f"  it {progress['blocker']['text']}"
    if pause is not None:
        yield f"paused until {clock(pause['ends_at'])}: {pause['reason']}"


def _about_delta(delta: Mapping[str, Any]) -> Iterator[str]:
    verified = "never verified"
    if delta["verified_at"] is not None:
        verified = f"verified {clock(delta['verified_at'])}: {'exact' if delta['verified_ok'] else 'DIFFERENT'}"
    fold = "" if delta["fold_seconds"] is None else f"the last fold took {took(delta['fold_seconds'])}, "
    yield f"mode: {delta['mode']}, {delta['pending_rows'] or 0:,} deltas wait, {fold}{verified}"
    if delta["rebuild_reason"] is not None:
        yield f"  the next refresh rebuilds the rollups: {delta['rebuild_reason']}"
    yield from (f"  {problem}" for problem in delta["problems"])


def _about_views(views: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    ran = [(view["view"], view["last_run"]) for view in views if view["last_run"] is not None]
    for view, run in ran:
        if not run["success"]:
            yield f"{view}: the last run failed: {error_words(run['sqlstate'], run['error'])}"
    for view, run in ran:
        wrong = _wrong_report(run["duration_seconds"], run["reported_seconds"])
        if wrong:
            yield f"{view}: {wrong}"
    yield from (f"{view['view']}: {view['doubt']}" for view in views if view["doubt"])


def _about_alerts(document: Mapping[str, Any]) -> Iterator[str]:
    if document["problem"]:
        yield f"the status function cannot be used: {document['problem']}"
    for alert in document["alerts"]:
        if alert["state"] != "resolved":
            word = "FIRING" if alert["state"] == "firing" else alert["state"]
            since = clock(alert["fired_at"] or alert["active_at"])
            yield f"{word} {alert['severity']} since {since}: {alert['alert']}: {alert['summary']}"
    if not document["history"]["available"]:
        yield "history and alerts are not stored here; `analytics-refreshd migrate` adds the tables for them"


def _wrong_report(seconds: float | None, reported: float | None) -> str | None:
    """What to say where the function's own figure cannot be right."""
    if seconds is None or reported is None or abs(reported - seconds) <= 1.0:
        return None
    return f"function says {reported:.1f} s, measured {seconds:.1f} s"


def _duration(seconds: float | None, reported: float | None) -> str:
    wrong = _wrong_report(seconds, reported)
    return f"{took(seconds)} ({wrong})" if wrong else took(seconds)


def history(
    context: typer.Context,
    since: Annotated[str, typer.Option(help="How far back, or since which time (RFC 3339).")] = "24h",
    view: Annotated[str | None, typer.Option(help="This view's results only.")] = None,
    outcome: Annotated[
        list[Outcome] | None, typer.Option(help="Runs that ended so only; may be given several times.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many runs.", min=1, max=10_000)] = 50,
    output: CsvFormatOption = FormatWithCsv.TABLE,
) -> int:
    """Past runs and what became of each view, newest first."""
    from analytics_refreshd.app.commands.status import past_runs

    config = load_config(context)
    if view is not None and view not in config.refresh.views:
        raise UsageError(f"{view} is not one of the configured views: {', '.join(config.refresh.views)}")
    runs = past_runs(config, since=span_or_moment(since), view=view, outcomes=outcome or [], limit=limit)
    if output is FormatWithCsv.JSON:
        print_json([run_as_json(run) for run in runs])
    elif output is FormatWithCsv.CSV:
        print_csv(_HISTORY_COLUMNS, (row for run in runs for row in _history_rows(run)))
    elif runs:
        _show_history(runs)
    else:
        note(f"no run matches within --since {since}; there may be one further back")
    return EXIT_OK


def _show_history(runs: Sequence[Run]) -> None:
    print_table(["started", "outcome", "took", "late", "tries", "views"], [_history_line(run) for run in runs])


_HISTORY_COLUMNS = [
    "run_id", "origin", "scheduled_at", "started_at", "finished_at", "outcome", "reason", "sqlstate", "run_seconds",
    "lateness_seconds", "attempts", "replica", "view", "success", "view_reason", "view_sqlstate", "error", "rows",
    "duration_seconds", "reported_seconds", "observed_seconds",
]  # fmt: skip


def _history_rows(run: Run) -> list[list[object]]:
    head: list[object] = [
        run.run_id, run.origin.value, run.scheduled_at, run.started_at, run.finished_at,
        run.outcome.value if run.outcome else "running", run.reason, run.sqlstate, run.duration_seconds,
        run.lateness_seconds, run.attempts, run.replica,
    ]  # fmt: skip
    if not run.views:
        return [[*head, None, None, None, None, run.error, None, None, None, None]]
    return [
        [
            *head, item.view, item.success, item.reason, item.sqlstate, item.error, item.rows,
            item.duration_seconds, item.reported_seconds, item.observed_seconds,
        ]
        for item in run.views
    ]  # fmt: skip


def _history_line(run: Run) -> list[object]:
    views = [
        f"{item.view} {_duration(item.duration_seconds, item.reported_seconds)}"
        if item.success
        else f"{item.view} FAILED {item.reason or ''} {item.sqlstate or ''}".rstrip()
        for item in run.views
    ]
    text = "\n".join(views)
    if run.reason is not None and (not run.views or run.outcome is not Outcome.PARTIAL):
        why = f"{run.reason.value}: {run.error}" if run.error else run.reason.value
        text = f"{why}\n{text}" if text else why
    return [
        clock(run.started_at),
        coloured(run.outcome.value if run.outcome else "running"),
        took(run.duration_seconds),
        took(run.lateness_seconds),
        run.attempts,
        text or "-",
    ]


def run_as_json(run: Run) -> dict[str, Any]:
    """A run with its views, for scripts; absent figures are null."""
    return {
        "run_id": str(run.run_id),
        "origin": run.origin.value,
        "scheduled_at": run.scheduled_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "outcome": run.outcome.value if run.outcome else None,
        "reason": run.reason.value if run.reason else None,
        "sqlstate": run.sqlstate,
        "error": run.error,
        "duration_seconds": run.duration_seconds,
        "lateness_seconds": run.lateness_seconds,
        "attempts": run.attempts,
        "replica": run.replica,
        "isolation": run.isolation,
        "clock": run.clock,
        "views": [
            {
                "view": item.view,
                "success": item.success,
                "reason": item.reason.value if item.reason else None,
                "sqlstate": item.sqlstate,
                "error": item.error,
                "rows": item.rows,
                "duration_seconds": item.duration_seconds,
                "reported_seconds": item.reported_seconds,
                "observed_seconds": item.observed_seconds,
            }
            for item in run.views
        ],
    }
