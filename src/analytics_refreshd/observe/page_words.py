"""The page's words and shapes: everything in `picture` as text, tones and SVG paths. Pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import groupby
from typing import Any

from analytics_refreshd.core.wording import bytes_in_words, seconds_in_words
from analytics_refreshd.observe.status_json import RECENT
from analytics_refreshd.observe.timeline import STATES

_TONE = {"fresh": "good", "late": "warn", "stale": "bad", "unknown": "bad"}
_ORDER = ("stale", "unknown", "late", "fresh")
_ALERTS = 20
_NOTICES = 12
_BAD_SLOTS = 40
_ERRORS_BYTES = 6000
_TEXTS_BYTES = 4000
"""Shared by all views, notices or alerts, so that fifty failing views still fit into the page's 100 kB."""

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
_CELL_PARTS = 4


def words(picture: Mapping[str, Any]) -> dict[str, Any]:
    """The template's variables, from `status_json.picture`."""
    now: datetime = picture["generated_at"]
    # The worst first: of fifty views nobody scrolls to the one that matters.
    views = sorted(picture["views"], key=lambda view: _ORDER.index(view["verdict"].value))
    told = picture["notices"][:_NOTICES]
    alerts = _alerts(picture["alerts"], now)
    room = _room(_ERRORS_BYTES, views)
    return {
        "database": picture["database"],
        "replica": picture["replica"],
        "version": picture["version"],
        "headline": _headline(picture["headline"]),
        "notices": [
            {"level": notice["level"], "text": cut(notice["text"], _room(_TEXTS_BYTES, told))} for notice in told
        ],
        "next_run": _next_run(picture, now),
        "interval": seconds_in_words(picture["interval_seconds"]),
        "role": picture["role"].value,
        "leader": _leader(picture),
        "database_state": _database(picture),
        "mode": f"{picture['mode']} mode, isolation by {picture['isolation']}",
        "rates": _rates(picture["rates"]),
        "alerts": alerts[:_ALERTS],
        "receivers": [
            {"name": cut(receiver["name"], 60), "state": cut(receiver["state"], 200), "tone": _receiver_tone(receiver)}
            for receiver in picture["receivers"][:_NOTICES]
        ],
        "alerts_left_out": max(0, len(alerts) - _ALERTS),
        "views": [_view(view, room) for view in views],
        "points": max((len(view["recent"]) for view in views), default=0),
        "slow": seconds_in_words(views[0]["slow_seconds"]) if views else "",
        "slots": _slots(picture["slots"]),
        "made_at": f"{now:%Y-%m-%d %H:%M:%S}",
        "evaluated": (
            None if picture["evaluated_seconds_ago"] is None else seconds_in_words(picture["evaluated_seconds_ago"])
        ),
    }


def _room(total_bytes: int, among: Sequence[object]) -> int:
    return max(60, min(600, total_bytes // max(1, len(among))))


def cut(text: str, limit: int) -> str:
    """What takes at most `limit` bytes in the page, where `<` takes four; an ellipsis where some is missing."""
    if len(text) * 5 <= limit or _size(text) <= limit:
        return text
    kept, room = [], limit - len("…".encode())
    for character in text[:limit]:
        room -= _size(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _size(text: str) -> int:
    return len(escape(text).encode("utf-8", "replace"))


def whole_seconds(seconds: float) -> str:
    """An age in words, in whole seconds from the first one on, as the page's script counts it."""
    return seconds_in_words(float(math.floor(seconds))) if seconds >= 10 else f"{math.floor(seconds)} s"


def _headline(headline: Mapping[str, str]) -> dict[str, str]:
    return {"text": headline["text"], "tone": "good" if headline["level"] == "info" else headline["level"]}


def _next_run(picture: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    at: datetime | None = picture["next_run_at"]
    if at is None:
        return None
    seconds = (at - now).total_seconds()
    if seconds >= 1:
        text = f"in {whole_seconds(seconds)}"
    else:
        text = "due now" if seconds > -30 else f"overdue by {whole_seconds(-seconds)}"
    return {"seconds": round(seconds, 1), "words": text, "at": f"{at:%H:%M:%S} UTC"}


def _leader(picture: Mapping[str, Any]) -> str:
    leader = picture["leader"]
    if leader is None:
        return "no leader known"
    return f"leader {leader['replica']}" if leader["ours"] else f"lock held by a stranger, pid {leader['pid']}"


def _database(picture: Mapping[str, Any]) -> dict[str, str]:
    if picture["database_up"]:
        return {"text": "answers", "tone": "good"}
    since: datetime | None = picture["database_down_since"]
    if since is None:
        return {"text": "has not answered yet", "tone": "warn"}
    return {"text": f"away since {since:%H:%M} UTC", "tone": "bad"}


def _rates(rates: Mapping[str, Any]) -> list[dict[str, str]]:
    executions = rates["executions"]
    enough = executions is not None and executions >= rates["min_executions"]
    ran = "of the last 24 h" if executions is None else f"of {executions:,} executions in 24 h"

    def judged(value: float | None, *, good: bool) -> dict[str, str]:
        if value is None:
            return {"word": "not known" if executions is None else "nothing ran", "tone": "off"}
        if not enough:
            return {"word": "too few to judge", "tone": "off"}
        return {"word": "within limit", "tone": "good"} if good else {"word": "beyond limit", "tone": "bad"}

    rate, p95 = rates["success_rate_percent"], rates["latency_p95_seconds"]
    least, most = rates["success_rate_min_percent"], rates["latency_p95_max_seconds"]
    return [
        {
            "name": "Success rate",
            "value": "unknown" if rate is None else f"{rate:.2f} %",
            "limit": f"{ran}, at least {least:g} %",
            **judged(rate, good=rate is not None and rate >= least),
        },
        {
            "name": "95th percentile of latency",
            "value": "unknown" if p95 is None else seconds_in_words(p95),
            "limit": f"{ran}, at most {seconds_in_words(most)}",
            **judged(p95, good=p95 is not None and p95 <= most),
        },
    ]


def _receiver_tone(receiver: Mapping[str, str]) -> str:
    return "bad" if receiver["state"].startswith("failing") else "soft"


def _alerts(alerts: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    shown = [alert for alert in alerts if alert["state"].value in ("firing", "pending")]
    shown.sort(key=lambda alert: (alert["state"].value != "firing", alert["severity"].value != "critical"))
    shown_bytes = _room(_TEXTS_BYTES, shown[:_ALERTS])
    return [
        {
            "name": f"{alert['alert'].value} {alert['view']}".strip(),
            "state": f"{alert['state'].value}, {alert['severity'].value}",
            "tone": "bad" if alert["state"].value == "firing" else "warn",
            "since": _since(alert["fired_at"] or alert["active_at"], now),
            "summary": cut(alert["summary"] or "", shown_bytes),
            "description": cut(alert["description"] or "", shown_bytes) if len(shown) <= _NOTICES else "",
        }
        for alert in shown
    ]


def _since(at: datetime, now: datetime) -> str:
    passed = max(0.0, (now - at).total_seconds())
    return f"since {at:%m-%d %H:%M} UTC ({seconds_in_words(passed)})"


def _view(view: Mapping[str, Any], room: int) -> dict[str, Any]:
    age, run, median = view["age_seconds"], view["last_run"], view["median_duration_seconds"]
    rows = "unknown" if view["rows"] is None else f"{view['rows']:,}"
    change = view["rows_change"]
    if change:
        rows += f" ({change:+,})"
    return {
        "name": cut(view["view"], 130).split("_"),
        "verdict": view["verdict"].value,
        "tone": _TONE[view["verdict"].value],
        "age_seconds": None if age is None else round(age, 1),
        "age": None if age is None else whole_seconds(age),
        "limit_seconds": view["max_age_seconds"],
        "limit": seconds_in_words(view["max_age_seconds"]),
        "doubt": cut(view["doubt"] or "", 120),
        "last": _last_run(run),
        "median": "unknown" if median is None else seconds_in_words(median),
        "rows": rows,
        "size": bytes_in_words(view["size_bytes"]),
        "error": _error(view["last_error"], room),
        "spark": _spark(view),
    }


def _last_run(run: Mapping[str, Any] | None) -> str:
    if run is None:
        return "unknown"
    took = "" if run["duration_seconds"] is None else seconds_in_words(run["duration_seconds"])
    if run["success"]:
        return took or "ok"
    reason = run["reason"].value.replace("_", " ") if run["reason"] else "failed"
    return f"failed: {reason}" + (f", {took}" if took else "")


def _error(error: Mapping[str, Any] | None, room: int) -> dict[str, Any] | None:
    if error is None:
        return None
    at = f"{error['at']:%m-%d %H:%M} UTC"
    return {
        "current": error["current"],
        "title": f"Failed at {at}:" if error["current"] else f"Failed at {at}, not since:",
        "text": cut(error["text"] or "no text", room),
    }


def _spark(view: Mapping[str, Any]) -> dict[str, Any] | None:
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
    """By the square root, so that a usual run shows beside one that took a hundred times as long."""
    return max(1, round(math.sqrt(max(0.0, seconds) / longest) * _SPARK_HEIGHT)) if longest > 0 else 1


def _steps(heights: Sequence[int]) -> str:
    """An SVG path around columns of these heights; 0 leaves a gap."""
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


def _slots(slots: Mapping[str, Any]) -> dict[str, Any]:
    cells = slots["cells"]
    per = math.ceil(len(cells) / _CELL_PARTS)
    counts = {state: sum(cell["state"] == state for cell in cells) for state in STATES}
    order = ("ok", "slow", "partial", "failed", "skipped", "running", "none")
    told = ", ".join(f"{counts[state]} {state}" for state in order if counts[state])
    bad = [cell for cell in reversed(cells) if cell["state"] not in ("ok", "none", "running")]
    return {
        "label": f"Timeline of the last 24 hours: {told}",
        "start": int(cells[0]["starts_at"].timestamp()),
        "cell": slots["cell_seconds"],
        "per": per,
        **_told(cells),
        "parts": [
            _part(cells[at : at + per], slots["cell_seconds"], last=at + per >= len(cells))
            for at in range(0, len(cells), per)
        ],
        "legend": [(state, _cell_path(state, 0, 1), counts[state]) for state in order],
        "bad": [(f"{cell['starts_at']:%m-%d %H:%M}", _cell_words(cell)) for cell in bad[:_BAD_SLOTS]],
        "bad_count": len(bad),
    }


def _part(cells: Sequence[Mapping[str, Any]], cell_seconds: float, *, last: bool) -> dict[str, Any]:
    paths: dict[str, str] = {}
    at = 0
    while at < len(cells):
        # Neighbours of one state are one rectangle.
        state, end = cells[at]["state"], at + 1
        while end < len(cells) and cells[end]["state"] == state:
            end += 1
        paths[state] = paths.get(state, "") + _cell_path(state, at, end - at)
        at = end
    until = cells[-1]["starts_at"] + timedelta(seconds=cell_seconds)
    title = f"{cells[0]['starts_at']:%H:%M} to " + ("now" if last else f"{until:%H:%M}")
    return {"paths": list(paths.items()), "title": title}


def _cell_path(state: str, at: int, count: int) -> str:
    top, height = _CELL[state]
    return f"M{at} {top}h{count}v{height}h-{count}z"


def _told(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the script tells of each cell: `3|412 ms|6f1c1a2e` with 3 the position of the outcome's words in `words`."""
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
    """The outcome's words; with a run also its duration in words (may be empty) and the head of its id."""
    if "run_id" not in cell:
        return ("none",)
    outcome = getattr(cell["outcome"], "value", cell["outcome"])
    text = "slow" if cell["state"] == "slow" else str(outcome)
    if cell["reason"] is not None and cell["reason"].value != outcome:
        text += f", {cell['reason'].value.replace('_', ' ')}"
    if cell["runs"] > 1:
        text = f"{cell['runs']} runs, the worst {text}"
    seconds = cell["duration_seconds"]
    return text, "" if seconds is None else seconds_in_words(seconds), str(cell["run_id"])[:8]
