"""Prints past runs, for `history`, and one run for scripts."""

from collections.abc import Sequence
from typing import Any

from analytics_refreshd.cli.common import clock, coloured, took
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.cost import FIGURES, Cost
from analytics_refreshd.core.model import Outcome, Run, ViewResult
from analytics_refreshd.core.wording import cost_in_words


def wrong_report(seconds: float | None, reported: float | None) -> str | None:
    """What to say where the function's own figure cannot be right."""
    if seconds is None or reported is None or abs(reported - seconds) <= 1.0:
        return None
    return f"function says {reported:.1f} s, measured {seconds:.1f} s"


def _duration(seconds: float | None, reported: float | None) -> str:
    wrong = wrong_report(seconds, reported)
    return f"{took(seconds)} ({wrong})" if wrong else took(seconds)


def show_runs_table(runs: Sequence[Run]) -> None:
    """Print a line per run, with its views."""
    headings = ["started", "outcome", "took", "late", "tries", "cost", "views"]
    print_table(headings, [_history_line(run) for run in runs], spare=("cost",))


RUN_COLUMNS = [
    "run_id", "origin", "scheduled_at", "started_at", "finished_at", "outcome", "reason", "sqlstate", "run_seconds",
    "lateness_seconds", "attempts", "replica", "view", "success", "view_reason", "view_sqlstate", "error", "rows",
    "duration_seconds", "reported_seconds", "observed_seconds", "rows_changed", *FIGURES, "run_rows_folded",
    *(f"run_{name}" for name in FIGURES),
]  # fmt: skip


def run_rows(run: Run) -> list[list[object]]:
    """Return a run as rows of `RUN_COLUMNS`, one for each view.

    Success is True or False, as it has been since the first version.
    """
    head: list[object] = [
        run.run_id, run.origin.value, run.scheduled_at, run.started_at, run.finished_at,
        run.outcome.value if run.outcome else "running", run.reason, run.sqlstate, run.duration_seconds,
        run.lateness_seconds, run.attempts, run.replica,
    ]  # fmt: skip
    tail: list[object] = [run.rows_folded, *_figures(run.cost)]
    if not run.views:
        return [[*head, None, None, None, None, run.error, None, None, None, None, None, *_figures(None), *tail]]
    return [
        [
            *head, item.view, str(item.success), item.reason, item.sqlstate, item.error, item.rows,
            item.duration_seconds, item.reported_seconds, item.observed_seconds, item.rows_changed,
            *_figures(item.cost), *tail,
        ]
        for item in run.views
    ]  # fmt: skip


def _figures(cost: Cost | None) -> list[int | None]:
    return [None if cost is None else getattr(cost, name) for name in FIGURES]


def _changed(item: ViewResult) -> str:
    return "" if item.rows_changed is None else f", {item.rows_changed:,} rows changed"


def _history_line(run: Run) -> list[object]:
    views = [
        f"{item.view} {_duration(item.duration_seconds, item.reported_seconds)}{_changed(item)}"
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
        cost_in_words(run.cost) if run.cost is not None else None,
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
        "rows_folded": run.rows_folded,
        **dict(zip(FIGURES, _figures(run.cost), strict=True)),
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
                "rows_changed": item.rows_changed,
                **dict(zip(FIGURES, _figures(item.cost), strict=True)),
            }
            for item in run.views
        ],
    }
