"""Prints `status` and `history`."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
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
    say,
    span_or_moment,
    took,
)
from analytics_refreshd.cli.runs import RUN_COLUMNS, run_as_json, run_rows, show_runs_table, wrong_report
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.errors import DatabaseFault, UsageError
from analytics_refreshd.core.model import Outcome, Run
from analytics_refreshd.core.staleness import Verdict
from analytics_refreshd.core.wording import bytes_in_words, cost_in_words, seconds_in_words

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.local_daemon import LocalStatus
    from analytics_refreshd.config import Config


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(status)
    app.command()(history)


def status(context: typer.Context, output: FormatOption = Format.TABLE) -> int:
    """How fresh each view is, who leads, what runs and fires. Exit 1 where anything is stale or failing."""
    from analytics_refreshd.app.commands.status import database_snapshot
    from analytics_refreshd.observe.status.document import status_document, status_json

    config = load_config(context)
    try:
        snapshot = database_snapshot(config)
    except DatabaseFault as fault:
        _status_of_daemon(config, fault, output)
        raise
    if output is Format.JSON:
        print_json(json.loads(status_json(snapshot)))
    else:
        show_status(status_document(snapshot))
    return EXIT_OK if snapshot.healthy else EXIT_FAILED


def _status_of_daemon(config: "Config", fault: DatabaseFault, output: Format) -> None:
    """Print what the daemon on this machine knows, if one answers."""
    local = _asked_instead(config, fault)
    if local is None:
        return
    if output is Format.JSON:
        print_json(local.document)
        return
    document = local.values()
    show_status(document)
    for notice in document["notices"]:
        say(f"{notice['level']}: {notice['text']}")


def _asked_instead(config: "Config", fault: Exception) -> "LocalStatus | None":
    """Ask the daemon on this machine, and say on standard error that what follows is its word."""
    from analytics_refreshd.app.commands.local_daemon import local_status

    local = local_status(config)
    if local is not None:
        note(f"analytics-refreshd: not from the database ({fault}), but from {local.told_by}:")
    return local


def show_status(document: Mapping[str, Any]) -> None:
    """Print a status document: a table of the views, and below it what else is known."""
    from analytics_refreshd.observe.status.view_fields import VIEW_COLUMNS

    columns = [(column.heading, _CELL.get(column.kind.name, _as_it_is), column.path) for column in VIEW_COLUMNS]
    print_table(
        [heading for heading, _, _ in columns],
        [[cell(reduce(_within, path, view)) for _, cell, path in columns] for view in document["views"]],
        spare=("size", "last success"),
    )
    out = console()
    out.print()
    for line in (
        *_about_database(document),
        *_about_cost(document.get("cost")),
        *_about_disk(document.get("disk")),
        *_about_limits(document.get("outlook")),
        *_about_views(document["views"]),
        *_about_alerts(document),
    ):
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
    if document["retention"] is not None and document["retention"]["begun_at"] is not None:
        yield _about_retention(document["retention"])
    if document.get("warehouse") is not None:
        yield _about_warehouse(document["warehouse"])
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
    if delta["frozen_until"] is not None:
        late = f", {delta['late_rows']:,} rows came before that, or were changed there" if delta["late_rows"] else ""
        yield f"frozen until {clock(delta['frozen_until'])}{late}"
    if delta["rebuild_reason"] is not None:
        yield f"  the next refresh rebuilds the rollups: {delta['rebuild_reason']}"
    yield from (f"  {problem}" for problem in delta["problems"])


def _about_cost(spending: Mapping[str, Any] | None) -> Iterator[str]:
    # a daemon of an older version says nothing of it
    if spending is None or spending["last_run"] is None:
        return
    last, day = spending["last_run"], spending["day"]
    folded = f", {last['rows_folded']:,} changes folded" if last["rows_folded"] is not None else ""
    yield f"cost of the last run: {cost_in_words(Cost(**last['cost']))}{folded}"
    unknown = f" ({day['unknown']:,} of them unknown)" if day["unknown"] else ""
    yield f"cost of {day['runs']:,} runs in 24 h{unknown}: {cost_in_words(Cost(**day['cost']))}"


def _about_disk(disk: Mapping[str, Any] | None) -> Iterator[str]:
    if disk is None:
        return
    growth, left = disk["growth_bytes_per_day"], disk["seconds_left"]
    used = f"{bytes_in_words(disk['database_bytes'])} of {bytes_in_words(disk['capacity_bytes'])}"
    grows = "its growth is not known yet" if growth is None else f"{bytes_in_words(growth)} more a day"
    end = "" if left is None else f", used up in about {seconds_in_words(left)}"
    yield f"disk: {used}, {'it does not grow' if growth is not None and growth <= 0 else grows}{end}"


def _about_limits(outlooks: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    # a daemon of an older version says nothing of it; what is far, or unknown, is in the document and on the page
    yield from (f"ahead: {outlook['text']}" for outlook in outlooks or () if outlook["soon"])


def _about_warehouse(waiting: Mapping[str, Any]) -> str:
    if waiting["exporting"]:
        lasted = took(waiting["lag_seconds"])
        return f"warehouse: an export is due or under way, for {lasted}: {waiting['epoch_reason']}"
    if not waiting["batches"]:
        return f"warehouse: it has everything, up to batch {waiting['acknowledged_batch']}"
    what = f"{waiting['batches']:,} batches of {waiting['rows']:,} rows wait"
    return f"warehouse: {what}, the oldest for {took(waiting['lag_seconds'])}"


def _about_retention(runs: Mapping[str, Any]) -> str:
    outcome = runs["outcome"] or "no end yet"
    why = f" ({runs['reason']})" if runs["reason"] else ""
    return f"retention: {outcome}{why}, {runs['rows_deleted']:,} rows older than {clock(runs['bound'])} deleted"


def _about_views(views: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    ran = [(view["view"], view["last_run"]) for view in views if view["last_run"] is not None]
    for view, run in ran:
        if not run["success"]:
            yield f"{view}: the last run failed: {error_words(run['sqlstate'], run['error'])}"
    for view, run in ran:
        wrong = wrong_report(run["duration_seconds"], run["reported_seconds"])
        if wrong:
            yield f"{view}: {wrong}"
    # a lock on one view keeps the status function from telling of any: said once
    for doubt in dict.fromkeys(view["doubt"] for view in views if view["doubt"]):
        names = [view["view"] for view in views if view["doubt"] == doubt]
        yield f"{'all views' if len(names) == len(views) > 1 else ', '.join(names)}: {doubt}"


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
    from analytics_refreshd.app.commands.status import NoHistory, past_runs

    config = load_config(context)
    if view is not None and view not in config.refresh.views:
        raise UsageError(f"{view} is not one of the configured views: {', '.join(config.refresh.views)}")
    begin = span_or_moment(since)
    try:
        runs = past_runs(config, since=begin, view=view, outcomes=outcome or [], limit=limit)
    except (DatabaseFault, NoHistory) as error:
        local = _asked_instead(config, error)
        if local is None:
            raise
        moment = begin if isinstance(begin, datetime) else local.values()["server_now"] - begin
        remembered = [run for run in local.runs() if run.started_at >= moment]
        _show_runs(_matching(remembered, view, outcome or [])[:limit], since, output)
        if isinstance(error, NoHistory):
            return EXIT_OK
        raise
    _show_runs(runs, since, output)
    return EXIT_OK


def _matching(runs: Sequence[Run], view: str | None, outcomes: Sequence[Outcome]) -> list[Run]:
    """Return the runs of these outcomes, with the one view's result where one is asked for."""
    if view is not None:
        runs = [replace(run, views=tuple(item for item in run.views if item.view == view)) for run in runs]
    return [run for run in runs if run.views and (not outcomes or run.outcome in outcomes)]


def _show_runs(runs: Sequence[Run], since: str, output: FormatWithCsv) -> None:
    if output is FormatWithCsv.JSON:
        print_json([run_as_json(run) for run in runs])
    elif output is FormatWithCsv.CSV:
        print_csv(RUN_COLUMNS, (row for run in runs for row in run_rows(run)))
    elif runs:
        show_runs_table(runs)
    else:
        note(f"no run matches within --since {since}; there may be one further back")
