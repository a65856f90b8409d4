"""`status` and `history`: what is, and what was."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

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
from analytics_refreshd.core.alerts.lifecycle import AlertState
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.model import Outcome, Run
from analytics_refreshd.core.wording import blocked_by, bytes_in_words, seconds_in_words

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.status import Picture


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(status)
    app.command()(history)


def status(context: typer.Context, output: FormatOption = Format.TABLE) -> int:
    """How fresh each view is, who leads, what runs and what fires; exit 1 where anything is stale or failing."""
    from analytics_refreshd.app.commands.status import database_picture

    picture = database_picture(load_config(context))
    if output is Format.JSON:
        print_json(_status_json(picture))
    else:
        _show_status(picture)
    return EXIT_OK if picture.healthy else EXIT_FAILED


def _status_json(picture: "Picture") -> dict[str, Any]:
    return {
        "database": picture.database,
        "server_now": picture.server_now,
        "healthy": picture.healthy,
        "mode": picture.delta.mode,
        "delta_rows": picture.delta.pending_rows,
        "fold_seconds": picture.delta.fold_seconds,
        "verified_at": picture.delta.verified_at,
        "verified_ok": picture.delta.verified_ok,
        "verified_differences": picture.delta.verified_differences,
        "rebuild_reason": picture.delta.rebuild_reason,
        "uncaptured": list(picture.delta.uncaptured),
        "problem": picture.problem,
        "views": [
            {
                "view": item.view,
                "verdict": item.verdict.value,
                "rows": item.rows,
                "size_bytes": item.size_bytes,
                "last_success_at": item.age.last_success_at,
                "age_seconds": item.age.seconds,
                "age_source": item.age.source,
                "doubt": item.age.doubt,
                "last_duration_seconds": item.last.duration_seconds if item.last else None,
                "reported_seconds": item.last.reported_seconds if item.last else None,
                "last_run_succeeded": item.last.success if item.last else None,
                "last_error": item.last.error if item.last else None,
                "last_sqlstate": item.last.sqlstate if item.last else None,
            }
            for item in picture.views
        ],
        "leader": None
        if picture.leader is None
        else {
            "replica": picture.leader.replica,
            "pid": picture.leader.pid,
            "since": picture.leader.since,
            "ours": picture.leader.ours,
        },
        "running": None
        if picture.progress is None
        else {
            "run_id": picture.progress.run_id,
            "started_at": picture.progress.started_at,
            "elapsed_seconds": picture.progress.elapsed_seconds,
            "view": picture.progress.view,
            "blocker": blocked_by(picture.progress.blocker, picture.progress.waiting_seconds)
            if picture.progress.blocker
            else None,
        },
        "pause": None
        if picture.pause is None
        else {"ends_at": picture.pause.ends_at, "reason": picture.pause.reason, "created_by": picture.pause.created_by},
        "alerts": [
            {
                "alert": record.alert.value,
                "view": record.view or None,
                "state": record.state.value,
                "severity": record.severity.value,
                "active_at": record.active_at,
                "fired_at": record.fired_at,
                "summary": record.summary,
                "description": record.description,
            }
            for record in picture.alerts
        ],
    }


def _show_status(picture: "Picture") -> None:
    print_table(
        ["view", "verdict", "age", "last success", "rows", "size", "last duration"],
        [
            [
                item.view,
                coloured(item.verdict.value),
                seconds_in_words(item.age.seconds),
                clock(item.age.last_success_at),
                item.rows,
                bytes_in_words(item.size_bytes),
                took(item.last.duration_seconds) if item.last else "-",
            ]
            for item in picture.views
        ],
    )
    lines = []
    if picture.leader is None:
        lines.append("leader: nobody (no daemon holds the lock)")
    else:
        stranger = "" if picture.leader.ours else ", which is not one of our daemons"
        lines.append(f"leader: {picture.leader.replica} (pid {picture.leader.pid}){stranger}")
    if picture.delta.mode != "plain":
        verified = "never verified"
        if picture.delta.verified_at is not None:
            found = "exact" if picture.delta.verified_ok else "DIFFERENT"
            verified = f"verified {clock(picture.delta.verified_at)}: {found}"
        fold = "" if picture.delta.fold_seconds is None else f"the last fold took {took(picture.delta.fold_seconds)}, "
        lines.append(f"mode: {picture.delta.mode}, {picture.delta.pending_rows or 0:,} deltas wait, {fold}{verified}")
        if picture.delta.rebuild_reason is not None:
            lines.append(f"  the next refresh rebuilds the rollups: {picture.delta.rebuild_reason}")
        lines.extend(f"  {problem}" for problem in picture.delta.problems)
    if picture.progress is not None:
        doing = f" on {picture.progress.view}" if picture.progress.view else ""
        lines.append(f"running: for {took(picture.progress.elapsed_seconds)}{doing}, run {picture.progress.run_id}")
        if picture.progress.blocker is not None:
            lines.append(f"  it {blocked_by(picture.progress.blocker, picture.progress.waiting_seconds)}")
    if picture.pause is not None:
        lines.append(f"paused until {clock(picture.pause.ends_at)}: {picture.pause.reason}")
    lines.extend(
        f"{item.view}: the last run failed: {error_words(item.last)}"
        for item in picture.views
        if item.last is not None and not item.last.success
    )
    for item in picture.views:
        wrong = _wrong_report(item.last.duration_seconds, item.last.reported_seconds) if item.last else None
        if wrong:
            lines.append(f"{item.view}: {wrong}")
    lines.extend(f"{item.view}: {item.age.doubt}" for item in picture.views if item.age.doubt)
    if picture.problem:
        lines.append(f"the status function cannot be used: {picture.problem}")
    for record in picture.alerts:
        word = "FIRING" if record.state is AlertState.FIRING else record.state.value
        since = clock(record.fired_at or record.active_at)
        lines.append(f"{word} {record.severity.value} since {since}: {record.alert.value}: {record.summary}")
    if not picture.history_available:
        lines.append("history and alerts are not stored here; `analytics-refreshd migrate` adds the tables for them")
    out = console()
    out.print()
    for line in lines:
        out.print(line, markup=False)


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
