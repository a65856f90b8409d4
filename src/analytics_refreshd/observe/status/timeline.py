"""Lays out the last 24 hours as a row of slots."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from analytics_refreshd.core.model import Limits, Outcome, Run
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.staleness import interval_seconds

_HOURS = 24
_SHORTEST_SECONDS = 300.0
"""Slots shorter than this share a cell, so that a fast schedule stays as small as the usual one."""

MOST_CELLS = _HOURS * 3600 // int(_SHORTEST_SECONDS)

STATES = ("none", "ok", "running", "slow", "skipped", "partial", "failed")
"""What a cell can be, from the most harmless to the worst; of several runs in a cell the worst shows."""

_OF_OUTCOME = {
    None: "running",
    Outcome.OK: "ok",
    Outcome.PARTIAL: "partial",
    Outcome.FAILED: "failed",
    Outcome.TIMEOUT: "failed",
    Outcome.UNKNOWN: "failed",
    Outcome.CANCELLED: "skipped",
    Outcome.SKIPPED: "skipped",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One slot, or several short ones. `run` is the worst of its `count` runs; None where there was none."""

    starts_at: datetime
    state: str
    run: Run | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """Cells of one state beside each other."""

    state: str
    cells: int


@dataclass(frozen=True, slots=True)
class Lane:
    """One view's cells, oldest first, as spans."""

    view: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The cells, oldest first. Each is `cell_seconds` long; the last is under way. A lane for each view."""

    cell_seconds: float
    cells: tuple[Cell, ...]
    lanes: tuple[Lane, ...] = ()


def state_of(run: Run, limits: Limits) -> str:
    """Return a run as one of `STATES`. Slow: a view took longer than the limit."""
    state = _OF_OUTCOME[run.outcome]
    if state != "ok":
        return state
    return "slow" if any((result.duration_seconds or 0.0) > limits.slow_seconds for result in run.views) else state


def timeline(snapshot: Snapshot) -> Timeline:
    """Lay the runs into the cells of the last 24 hours.

    Slots are by the process's own clock; a run without one was dated by the server's.
    """
    limits, now, server_now = snapshot.state.limits, snapshot.now, snapshot.server_now
    interval = max(1.0, limits.shortest_interval_seconds or limits.interval_seconds)
    cell_seconds = interval * math.ceil(_SHORTEST_SECONDS / interval) if interval < _SHORTEST_SECONDS else interval
    count = max(1, round(_HOURS * 3600 / cell_seconds))
    last = math.floor(now.timestamp() / cell_seconds)
    behind = server_now - now
    times = [((run.scheduled_at or run.started_at - behind).timestamp(), run) for run in snapshot.state.runs]
    held = _by_number(times, cell_seconds)
    numbers = range(last - count + 1, last + 1)
    cells = []
    for number in numbers:
        starts_at = datetime.fromtimestamp(0, UTC) + timedelta(seconds=number * cell_seconds)
        found = held.get(number, [])
        worst = max(found, key=lambda run: STATES.index(state_of(run, limits)), default=None)
        cells.append(Cell(starts_at, state_of(worst, limits) if worst else "none", worst, len(found)))
    lanes = []
    for view in snapshot.state.views:
        # a cell shows the view's slot that it lies in, so that a view with a long interval has no gaps
        slot_seconds = max(cell_seconds, interval_seconds(limits, view))
        slots = held if slot_seconds == cell_seconds else _by_number(_of_view(view, times), slot_seconds)
        shown = [slots.get(math.floor(number * cell_seconds / slot_seconds), []) for number in numbers]
        lanes.append(_lane(view, shown, limits))
    return Timeline(cell_seconds, tuple(cells), tuple(lanes))


def _of_view(view: str, times: Sequence[tuple[float, Run]]) -> list[tuple[float, Run]]:
    """Leave out the skipped slots of other views: they tell nothing of this one."""
    return [pair for pair in times if any(result.view == view for result in pair[1].views)]


def _by_number(times: Sequence[tuple[float, Run]], seconds: float) -> Mapping[int, list[Run]]:
    """Return the runs of each stretch of `seconds` by its number, in their order."""
    held: dict[int, list[Run]] = {}
    for at, run in times:
        held.setdefault(math.floor(at / seconds), []).append(run)
    return held


def _lane(view: str, runs: Sequence[Sequence[Run]], limits: Limits) -> Lane:
    states = (
        max((_state_of_view(view, run, limits) for run in found), key=STATES.index, default="none") for found in runs
    )
    return Lane(view, tuple(Span(state, len(list(same))) for state, same in groupby(states)))


def _state_of_view(view: str, run: Run, limits: Limits) -> str:
    result = next((result for result in run.views if result.view == view), None)
    if result is None:
        if limits.view_interval_seconds and run.views:
            # other views were due
            return "none"
        state = state_of(run, limits)
        # a run that ended without a word on this view tells of its other views
        return "none" if state in ("ok", "slow", "partial") else state
    if not result.success:
        return "failed"
    return "slow" if (result.duration_seconds or 0.0) > limits.slow_seconds else "ok"
