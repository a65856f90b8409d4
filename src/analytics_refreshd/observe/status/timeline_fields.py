"""The fields of the status document's timeline: the last 24 hours, slot by slot and view by view."""

from analytics_refreshd.core.model import Outcome
from analytics_refreshd.observe.status.field import COUNT, ID, LIST, SECONDS, TEXT, TIME, WORD, Field, one_of
from analytics_refreshd.observe.status.timeline import MOST_CELLS, STATES, Cell, Lane, Span, Timeline

_CELL: tuple[Field[Cell], ...] = (
    Field("starts_at", TIME, "the slot", lambda cell: cell.starts_at),
    Field(
        "state",
        one_of(*STATES),
        "`skipped`: also cancelled; `failed`: also timed out or lost",
        lambda cell: cell.state,
    ),
    Field("runs", COUNT, "how many; the worst is given", lambda cell: cell.count),
    Field("run_id", ID, "the run", lambda cell: cell.run and cell.run.run_id, optional=True),
    Field(
        "outcome",
        one_of(*Outcome, "running"),
        "how it ended",
        lambda cell: cell.run and (cell.run.outcome or "running"),
        optional=True,
    ),
    Field("reason", WORD, "why", lambda cell: cell.run and cell.run.reason, optional=True),
    Field(
        "duration_seconds",
        SECONDS,
        "for how long it ran",
        lambda cell: cell.run and cell.run.duration_seconds,
        optional=True,
    ),
)

_SPAN: tuple[Field[Span], ...] = (
    Field("state", one_of(*STATES), "the view's; `failed` where a run failed for all", lambda span: span.state),
    Field("cells", COUNT, "how many cells beside each other", lambda span: span.cells),
)

_LANE: tuple[Field[Lane], ...] = (
    Field("view", TEXT, "its name", lambda lane: lane.view),
    Field("spans", LIST, "oldest first", lambda lane: lane.spans, fields=_SPAN, most=MOST_CELLS),
)

TIMELINE_FIELDS: tuple[Field[Timeline], ...] = (
    Field("cell_seconds", SECONDS, "a cell's length", lambda row: row.cell_seconds),
    Field("cells", LIST, "oldest first", lambda row: row.cells, fields=_CELL, most=MOST_CELLS),
    Field("lanes", LIST, "the same cells for each view", lambda row: row.lanes, fields=_LANE),
)
