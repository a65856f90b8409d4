"""The fields of one view in the status document. A `heading` makes a terminal's column of it."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.snapshot import RECENT, ViewRun, ViewSnapshot
from analytics_refreshd.core.staleness import Verdict
from analytics_refreshd.observe.status.cost_fields import COST_FIELDS
from analytics_refreshd.observe.status.field import (
    BYTES,
    COUNT,
    FLAG,
    ID,
    LIST,
    OBJECT,
    SECONDS,
    TEXT,
    TIME,
    WORD,
    Field,
    Kind,
    choice,
)


def _rows_change(view: ViewSnapshot) -> int | None:
    counts = [result.rows for _, result in view.recent if result.success and result.rows is not None]
    return counts[-1] - counts[-2] if len(counts) > 1 else None


def _median(view: ViewSnapshot) -> float | None:
    took = [result.duration_seconds for _, result in view.recent if result.success]
    known = [seconds for seconds in took if seconds is not None and math.isfinite(seconds)]
    return median(known) if known else None


_RUN: tuple[Field[ViewRun], ...] = (
    Field("run_id", ID, "the run", lambda pair: pair[0].run_id),
    Field("started_at", TIME, "when it began", lambda pair: pair[0].started_at),
    Field("success", FLAG, "whether it refreshed this view", lambda pair: pair[1].success),
)

_LAST_RUN: tuple[Field[ViewRun], ...] = (
    *_RUN,
    Field("reason", WORD, "why it failed", lambda pair: pair[1].reason, nullable=True),
    Field("sqlstate", TEXT, "the SQLSTATE", lambda pair: pair[1].sqlstate, nullable=True),
    Field("error", TEXT, "the error", lambda pair: pair[1].error, nullable=True),
    Field(
        "duration_seconds",
        SECONDS,
        "as the daemon measured it",
        lambda pair: pair[1].duration_seconds,
        nullable=True,
        heading="last duration",
    ),
    Field("reported_seconds", SECONDS, "as the function said", lambda pair: pair[1].reported_seconds, nullable=True),
    Field("rows", COUNT, "the view's rows after it", lambda pair: pair[1].rows, nullable=True),
    Field("rows_changed", COUNT, "rows deleted and inserted", lambda pair: pair[1].rows_changed, nullable=True),
    Field(
        "cost",
        OBJECT,
        "what it cost; unknown where one call refreshed all views",
        lambda pair: pair[1].cost or Cost(),
        fields=COST_FIELDS,
    ),
)

_RECENT: tuple[Field[ViewRun], ...] = (
    *_RUN,
    Field("duration_seconds", SECONDS, "its duration", lambda pair: pair[1].duration_seconds, nullable=True),
    Field("rows", COUNT, "the view's rows after it", lambda pair: pair[1].rows, nullable=True),
)

_LAST_ERROR: tuple[Field[tuple[ViewRun, bool]], ...] = (
    Field("at", TIME, "when the run began", lambda error: error[0][0].started_at),
    Field("run_id", ID, "the run", lambda error: error[0][0].run_id),
    Field("text", TEXT, "the error", lambda error: error[0][1].error, nullable=True),
    Field("current", FLAG, "false: a success followed", lambda error: error[1]),
)

VIEW_FIELDS: tuple[Field[ViewSnapshot], ...] = (
    Field("view", TEXT, "its name", lambda view: view.view, heading="view"),
    Field(
        "verdict",
        choice(Verdict),
        "`late`: over one and a half of `interval_seconds`; `stale`: over `max_age_seconds`",
        lambda view: view.verdict,
        heading="verdict",
    ),
    Field(
        "age_seconds",
        SECONDS,
        "its age by the server's clock",
        lambda view: view.age and view.age.seconds,
        nullable=True,
        heading="age",
    ),
    Field(
        "last_success_at",
        TIME,
        "when it was last refreshed",
        lambda view: view.age and view.age.last_success_at,
        nullable=True,
        heading="last success",
    ),
    Field(
        "age_source",
        TEXT,
        "who says so: the status `function`, or our own `record`",
        lambda view: view.age and view.age.source,
        nullable=True,
    ),
    Field(
        "doubt",
        TEXT,
        "why the status function's own time was not believed",
        lambda view: view.age and view.age.doubt,
        nullable=True,
    ),
    Field("interval_seconds", SECONDS, "between two of its slots", lambda view: view.interval_seconds),
    Field("max_age_seconds", SECONDS, "the age beyond which it is stale", lambda view: view.max_age_seconds),
    Field("critical_age_seconds", SECONDS, "and beyond which that is critical", lambda view: view.critical_age_seconds),
    Field("rows", COUNT, "its rows", lambda view: view.rows, nullable=True, heading="rows"),
    Field("rows_change", COUNT, "against the success before the last", _rows_change, nullable=True),
    Field(
        "size_bytes",
        BYTES,
        "on disk, with indexes",
        lambda view: view.status.size_bytes,
        nullable=True,
        heading="size",
    ),
    Field(
        "last_run",
        OBJECT,
        "the last run that tried this view and was not cancelled",
        lambda view: view.last,
        nullable=True,
        fields=_LAST_RUN,
    ),
    Field("last_error", OBJECT, "the last failure", lambda view: view.last_failure, nullable=True, fields=_LAST_ERROR),
    Field("median_duration_seconds", SECONDS, "of the successes in `recent`", _median, nullable=True),
    Field("slow_seconds", SECONDS, "the duration beyond which a run is slow", lambda view: view.slow_seconds),
    Field("recent", LIST, "its last runs, oldest first", lambda view: view.recent, fields=_RECENT, most=RECENT),
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `status` on a terminal: its heading and kind, and where in a view's object its value is."""

    heading: str
    kind: Kind
    path: tuple[str, ...]


def _columns(fields: Iterable[Field[Any]], above: tuple[str, ...] = ()) -> Iterator[Column]:
    for field in fields:
        if field.heading:
            yield Column(field.heading, field.kind, (*above, field.name))
        if field.kind is OBJECT:
            yield from _columns(field.fields, (*above, field.name))


VIEW_COLUMNS = tuple(_columns(VIEW_FIELDS))
