"""Draws sparklines and the timeline as SVG paths. Words tell what they show. Pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from analytics_refreshd.core.snapshot import RECENT
from analytics_refreshd.core.wording import seconds_in_words
from analytics_refreshd.observe.status.timeline import STATES

_SPARK_HEIGHT = 30
_SPARK_STEP = 5
# From the bottom up: a slot's height says the same as its colour.
_CELL = {
    "none": (22, 1),
    "ok": (14, 9),
    "running": (14, 9),
    "slow": (9, 14),
    "skipped": (19, 4),
    "partial": (5, 18),
    "failed": (1, 22),
}
_BAD_SLOTS = 40
_MOST_LANES = 8
"""More views than these share one lane: fifty would be a wall, and no page of 100 kB."""
_HOUR_MARKS = 3


def sparkline(view: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw a view's last durations: paths by state, the limit's height, and a sentence."""
    recent = view["recent"]
    if not recent:
        return None
    slow, usual = view["slow_seconds"], view["median_duration_seconds"]
    durations = [point["duration_seconds"] for point in recent if point["duration_seconds"] is not None]
    longest = max([slow, *durations])
    failed = [number for number, point in enumerate(recent) if not point["success"]]
    bars = [0 if point["duration_seconds"] is None else _height(point["duration_seconds"], longest) for point in recent]
    over = [point["success"] and (point["duration_seconds"] or 0.0) > slow for point in recent]
    columns = list(zip(bars, over, strict=True))
    # A young view's bars begin in the middle, so that all views' bars are equally wide.
    left = [0] * (RECENT - len(recent))
    paths = {
        "ok": _steps([*left, *(0 if late or at in failed else bar for at, (bar, late) in enumerate(columns))]),
        "slow": _steps([*left, *(bar if late else 0 for bar, late in columns)]),
        "failed": "".join(f"M{(len(left) + at) * _SPARK_STEP + 2} 0v{_SPARK_HEIGHT}" for at in failed),
    }
    label = f"Last {len(recent)} runs: median {seconds_in_words(usual)}, "
    label += f"longest {seconds_in_words(max(durations, default=None))}, limit {seconds_in_words(slow)}, "
    return {
        "width": RECENT * _SPARK_STEP,
        "limit": _SPARK_HEIGHT - _height(slow, longest),
        "paths": [(name, path) for name, path in paths.items() if path],
        "label": f"{label}{len(failed)} failed",
    }


def _height(seconds: float, longest: float) -> int:
    """Scale by the square root, so that usual runs stay visible beside very long ones."""
    return max(1, round(math.sqrt(max(0.0, seconds) / longest) * _SPARK_HEIGHT)) if longest > 0 else 1


def _steps(heights: Sequence[int]) -> str:
    """Draw an SVG path around columns of these heights; 0 leaves a gap."""
    path, at = "", 0
    for height, group in groupby(heights):
        width = len(list(group)) * _SPARK_STEP
        if height:
            start = "" if path and not path.endswith("z") else f"M{at} {_SPARK_HEIGHT}"
            path += f"{start}V{_SPARK_HEIGHT - height}h{width}"
        elif path and not path.endswith("z"):
            path += f"V{_SPARK_HEIGHT}z"
        at += width
    return path if not path or path.endswith("z") else f"{path}V{_SPARK_HEIGHT}z"


def slots(row: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the day: a lane for all, one for each of a few views, hour marks, texts and legend."""
    cells = row["cells"]
    counts = {state: sum(cell["state"] == state for cell in cells) for state in STATES}
    order = ("ok", "slow", "partial", "failed", "skipped", "running", "none")
    length = seconds_in_words(row["cell_seconds"])
    told = ", ".join(f"{counts[state]} {state}" for state in order if counts[state])
    bad = [cell for cell in reversed(cells) if cell["state"] not in ("ok", "none", "running")]
    whole = [(state, len(list(same))) for state, same in groupby(cell["state"] for cell in cells)]
    lanes = row["lanes"] if 1 < len(row["lanes"]) <= _MOST_LANES else ()
    return {
        "label": f"Timeline of the last 24 hours in slots of {length}: {told}",
        "length": length,
        "start": int(cells[0]["starts_at"].timestamp()),
        "cell": row["cell_seconds"],
        "count": len(cells),
        **_told(cells),
        "lanes": [
            {"name": "all" if lanes else "", "paths": _paths(whole)},
            *(
                {"name": lane["view"], "paths": _paths([(span["state"], span["cells"]) for span in lane["spans"]])}
                for lane in lanes
            ),
        ],
        "hours": _hours(cells[0]["starts_at"], len(cells) * row["cell_seconds"]),
        "legend": [(state, _cell_path(state, 0, 1), counts[state]) for state in order],
        "bad": [(f"{cell['starts_at']:%m-%d %H:%M}", _cell_words(cell)) for cell in bad[:_BAD_SLOTS]],
        "bad_count": len(bad),
    }


def _paths(spans: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
    paths: dict[str, str] = {}
    at = 0
    for state, count in spans:
        paths[state] = paths.get(state, "") + _cell_path(state, at, count)
        at += count
    return list(paths.items())


def _hours(start: datetime, seconds: float) -> list[tuple[str, str]]:
    """Return marks at every third full hour: where, in percent of the width, and the time."""
    first = start.replace(minute=0, second=0, microsecond=0)
    marks = (first + timedelta(hours=hours) for hours in range(1, 26))
    shown = [at for at in marks if at.hour % _HOUR_MARKS == 0 and at < start + timedelta(seconds=seconds)]
    return [(f"{(at - start).total_seconds() / seconds * 100:.2f}", f"{at:%H:%M}") for at in shown]


def _cell_path(state: str, at: int, count: int) -> str:
    top, height = _CELL[state]
    return f"M{at} {top}h{count}v{height}h-{count}z"


def _told(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Encode each cell for the script: `3|412 ms|6f1c1a2e`, where 3 is the outcome's place in `words`."""
    known: dict[str, int] = {}
    told = []
    for cell in cells:
        ended, *rest = _cell_parts(cell)
        told.append("|".join((str(known.setdefault(ended, len(known))), *rest)))
    return {"words": "|".join(known), "cells": ";".join(told)}


def _cell_words(cell: Mapping[str, Any]) -> str:
    ended, *rest = _cell_parts(cell)
    if not rest:
        return ended
    took, run = rest
    return ", ".join(part for part in (ended, took, f"run {run}") if part)


def _cell_parts(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the outcome's words, and of a run its duration (may be empty) and short id."""
    if "run_id" not in cell:
        return ("none",)
    outcome, reason = cell["outcome"], cell.get("reason")
    text = "slow" if cell["state"] == "slow" else str(outcome)
    if reason is not None and reason != outcome:
        text += f", {reason.replace('_', ' ')}"
    if cell["runs"] > 1:
        text = f"{cell['runs']} runs, the worst {text}"
    seconds = cell.get("duration_seconds")
    return text, "" if seconds is None else seconds_in_words(seconds), str(cell["run_id"])[:8]
