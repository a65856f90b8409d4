"""Puts the status document into the page's words, tones and drawings. Pure."""

import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from analytics_refreshd.core.runbooks import runbook, web_link
from analytics_refreshd.core.wording import bytes_in_words, seconds_in_words
from analytics_refreshd.observe.page.cost import cost_words, disk_words
from analytics_refreshd.observe.page.outlook import outlook_words
from analytics_refreshd.observe.page.shapes import slots, sparkline
from analytics_refreshd.observe.page.warehouse import warehouse_words

_TONE = {"fresh": "good", "late": "warn", "stale": "bad", "unknown": "bad"}
_ORDER = ("stale", "unknown", "late", "fresh")
_ALERTS = 20
_NOTICES = 12
_NEXT = " Next: "
_COMMAND_MOST = 200
_RUNS = 8
_MOST_WITH_RUNS = 8
"""Fifty views with their last runs each would be no page of 100 kB."""
_ERRORS_BYTES = 6000
_TEXTS_BYTES = 4000
"""Shared by all views, notices or alerts, so that fifty failing views still fit into the page's 100 kB."""


def words(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template's variables for a status document."""
    now: datetime = status["generated_at"]
    # the worst first: of fifty views nobody scrolls to the one that matters
    views = sorted(status["views"], key=lambda view: _ORDER.index(view["verdict"]))
    told = status["notices"][:_NOTICES]
    alerts = _alerts(status["alerts"], status["server_now"], status["runbooks_url"] or "")
    room = _room(_ERRORS_BYTES, views)
    return {
        "database": status["database"],
        "server": cut(status["server"] or "", 200),
        "replica": status["replica"],
        "version": status["version"],
        "headline": _headline(status["headline"]),
        "notices": [
            {"level": notice["level"], "text": cut(notice["text"], _room(_TEXTS_BYTES, told))} for notice in told
        ],
        "next_run": _next_run(status, now),
        "interval": seconds_in_words(status["interval_seconds"]),
        "role": str(status["role"]),
        "leader": _leader(status),
        "database_state": _database(status),
        "mode": _mode(status),
        "retention": _retention(status["retention"]),
        "cost": cost_words(status["cost"]),
        "disk": disk_words(status["disk"]),
        "outlook": outlook_words(status["outlook"], status["server_now"]),
        "warehouse": warehouse_words(status["warehouse"]),
        "rates": _rates(status["rates"]),
        "alerts": alerts[:_ALERTS],
        "receivers": [
            {"name": cut(receiver["name"], 60), "state": cut(receiver["state"], 200), "tone": _receiver_tone(receiver)}
            for receiver in (status["receivers"] or ())[:_NOTICES]
        ],
        "alerts_left_out": max(0, len(alerts) - _ALERTS),
        "views": [_view(view, runs=len(views) <= _MOST_WITH_RUNS) for view in views],
        "errors": _errors(views, room),
        "points": max((len(view["recent"]) for view in views), default=0),
        "slow": seconds_in_words(views[0]["slow_seconds"]) if views else "",
        "slots": slots(status["slots"]),
        "made_at": f"{now:%Y-%m-%d %H:%M:%S}",
        "evaluated": (
            None if status["evaluated_seconds_ago"] is None else seconds_in_words(status["evaluated_seconds_ago"])
        ),
    }


def _room(total_bytes: int, among: Sequence[object]) -> int:
    return max(60, min(600, total_bytes // max(1, len(among))))


def cut(text: str, limit: int) -> str:
    """Cut `text` to `limit` bytes of the page. There `<` takes four; an ellipsis marks the cut."""
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
    """Put an age into words of whole seconds, as the script does."""
    return seconds_in_words(float(math.floor(seconds))) if seconds >= 10 else f"{math.floor(seconds)} s"


def _headline(headline: Mapping[str, str]) -> dict[str, str]:
    return {"text": headline["text"], "tone": "good" if headline["level"] == "info" else headline["level"]}


def _next_run(status: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    at: datetime | None = status["next_run_at"]
    if at is None:
        return None
    pause = status["pause"]
    if pause is not None:
        # at once where the views are old by then, not only at the slot
        return {"seconds": None, "words": "after the pause", "at": f"{pause['ends_at']:%m-%d %H:%M:%S} UTC"}
    seconds = (at - now).total_seconds()
    if seconds >= 1:
        text = f"in {whole_seconds(seconds)}"
    else:
        text = "due now" if seconds > -30 else f"overdue by {whole_seconds(-seconds)}"
    return {"seconds": round(seconds, 1), "words": text, "at": f"{at:%H:%M:%S} UTC"}


def _leader(status: Mapping[str, Any]) -> str:
    leader = status["leader"]
    if leader is None or (not leader["ours"] and not status["database_up"]):
        return "no leader known"
    if not status["database_up"]:
        return f"{leader['replica']} led last"
    return f"leader {leader['replica']}" if leader["ours"] else f"lock held by another program, pid {leader['pid']}"


def _database(status: Mapping[str, Any]) -> dict[str, str]:
    if status["database_up"]:
        return {"text": "answers", "tone": "good"}
    since: datetime | None = status["database_down_since"]
    if since is None:
        return {"text": "has not answered yet", "tone": "warn"}
    return {"text": f"away since {since:%H:%M} UTC", "tone": "bad"}


def _mode(status: Mapping[str, Any]) -> str:
    one = "each view" if status["isolation"] == "view" else "all views"
    words = f"{status['mode']} mode, one transaction for {one}"
    delta = status["delta"]
    if delta is None or delta["mode"] == "plain" or delta["pending_rows"] is None:
        return words
    fold_seconds, verified_at = delta["fold_seconds"], delta["verified_at"]
    fold = "" if fold_seconds is None else f", the last fold took {seconds_in_words(fold_seconds)}"
    if verified_at is None:
        verified = "never verified"
    else:
        verified = f"{'exact' if delta['verified_ok'] else 'different'} at {verified_at:%m-%d %H:%M} UTC"
    frozen = f", frozen until {at:%Y-%m-%d %H:%M} UTC" if (at := delta["frozen_until"]) else ""
    return f"{words}, {delta['pending_rows']:,} changes wait{fold}, {verified}{frozen}"


def _retention(runs: Mapping[str, Any] | None) -> dict[str, str] | None:
    if runs is None or runs["begun_at"] is None:
        return None
    outcome = runs["outcome"] or "no end yet"
    why = "" if runs["reason"] is None else f", {cut(runs['reason'], 200)}"
    return {
        "text": outcome,
        "tone": "bad" if outcome in ("failed", "abandoned") else "soft",
        "detail": f"{runs['begun_at']:%m-%d %H:%M} UTC, {runs['rows_deleted'] or 0:,} rows deleted{why}",
    }


def _rates(rates: Mapping[str, Any]) -> list[dict[str, str]]:
    executions = rates["executions"]
    enough = executions is not None and executions >= rates["min_executions"]
    ran = "of the last 24 h" if executions is None else f"of {executions:,} executions in 24 h"

    def rated(value: float | None, *, good: bool, problem: str | None = None) -> dict[str, str]:
        if problem:
            return {"word": "not judged", "tone": "off"}
        if value is None:
            return {"word": "not known" if executions is None else "nothing ran", "tone": "off"}
        if not enough:
            return {"word": "too few executions", "tone": "off"}
        return {"word": "within limit", "tone": "good"} if good else {"word": "beyond limit", "tone": "bad"}

    rate, p95 = rates["success_rate_percent"], rates["latency_p95_seconds"]
    least, most = rates["success_rate_min_percent"], rates["latency_p95_max_seconds"]
    return [
        {
            "name": "Success rate",
            "value": "unknown" if rate is None else f"{rate:.2f} %",
            "limit": f"{ran}, at least {least:g} %",
            **rated(rate, good=rate is not None and rate >= least),
        },
        {
            "name": "95th percentile of latency",
            "value": "unknown" if p95 is None else seconds_in_words(p95),
            "limit": f"{ran}, at most {seconds_in_words(most)}",
            **rated(p95, good=p95 is not None and p95 <= most, problem=rates["latency_problem"]),
        },
    ]


def _receiver_tone(receiver: Mapping[str, str]) -> str:
    return "bad" if receiver["state"].startswith("failing") else "soft"


def _alerts(alerts: Sequence[Mapping[str, Any]], now: datetime, runbooks: str) -> list[dict[str, Any]]:
    shown = [alert for alert in alerts if alert["state"] in ("firing", "pending")]
    shown.sort(key=lambda alert: (alert["state"] != "firing", ("critical", "warning", "info").index(alert["severity"])))
    shown_bytes = _room(_TEXTS_BYTES, shown[:_ALERTS])
    return [
        {
            "name": " ".join(filter(None, (alert["alert"], alert["view"]))),
            "state": f"{alert['state']}, {alert['severity']}",
            "tone": "bad" if alert["state"] == "firing" and alert["severity"] != "info" else "warn",
            "since": _since(alert["fired_at"] or alert["active_at"], now),
            "summary": cut(alert["summary"] or "", shown_bytes),
            **_described(alert["description"] if len(shown) <= _NOTICES else None, shown_bytes),
            "runbook": web_link(runbook(runbooks, alert["alert"])) if len(shown) <= _NOTICES else None,
        }
        for alert in shown
    ]


def _described(text: str | None, limit: int) -> dict[str, str]:
    """Return a description, and apart from it the command to type next, if it ends with one."""
    text = text or ""
    description, mark, command = text.rpartition(_NEXT)
    if not mark or not command.startswith("analytics-refreshd ") or len(command) > _COMMAND_MOST:
        return {"description": cut(text, limit), "command": ""}
    return {"description": cut(description, limit), "command": command}


def _since(at: datetime, now: datetime) -> str:
    passed = max(0.0, (now - at).total_seconds())
    return f"since {at:%m-%d %H:%M} UTC ({seconds_in_words(passed)})"


def _view(view: Mapping[str, Any], *, runs: bool) -> dict[str, Any]:
    age, run, median = view["age_seconds"], view["last_run"], view["median_duration_seconds"]
    rows = "unknown" if view["rows"] is None else f"{view['rows']:,}"
    change = view["rows_change"]
    if change:
        rows += f" ({change:+,})"
    return {
        "id": cut(view["view"], 130),
        "name": cut(view["view"], 130).split("_"),
        "verdict": view["verdict"],
        "tone": _TONE[view["verdict"]],
        "age_seconds": None if age is None else round(age, 1),
        "age": None if age is None else whole_seconds(age),
        "limit_seconds": view["max_age_seconds"],
        "limit": seconds_in_words(view["max_age_seconds"]),
        "doubt": cut(view["doubt"] or "", 120),
        "last": _last_run(run),
        "median": "unknown" if median is None else seconds_in_words(median),
        "rows": rows,
        "size": bytes_in_words(view["size_bytes"]),
        "spark": sparkline(view),
        "history": f"analytics-refreshd history --view {shlex.quote(view['view'])}",
        "runs": [_past(run) for run in reversed(view["recent"][-_RUNS:])] if runs else [],
    }


def _past(run: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return when a past run of a view began, how it ended or how long it took, and its rows."""
    took = "" if run["duration_seconds"] is None else seconds_in_words(run["duration_seconds"])
    ended = (took or "ok") if run["success"] else ", ".join(filter(None, ("failed", took)))
    return f"{run['started_at']:%m-%d %H:%M:%S}", ended, "" if run["rows"] is None else f"{run['rows']:,}"


def _last_run(run: Mapping[str, Any] | None) -> str:
    if run is None:
        return "unknown"
    took = "" if run["duration_seconds"] is None else seconds_in_words(run["duration_seconds"])
    if run["success"]:
        return took or "ok"
    reason = run["reason"].replace("_", " ") if run["reason"] else "failed"
    return f"failed: {reason}" + (f", {took}" if took else "")


def _errors(views: Sequence[Mapping[str, Any]], room: int) -> list[dict[str, Any]]:
    """Return the views' last errors, one entry for views that failed alike: current ones first."""
    alike: dict[tuple[bool, str, str], list[str]] = {}
    for view in views:
        error = view["last_error"]
        if error is not None:
            at = f"{error['at']:%m-%d %H:%M} UTC"
            alike.setdefault((not error["current"], at, error["text"] or "no text"), []).append(view["view"])
    return [
        {
            "current": not past,
            "title": f"Failed at {at}" + (", not since:" if past else ":"),
            "views": cut(
                ", ".join(names) if len(names) < len(views) or len(views) == 1 else f"all {len(names)} views", 600
            ),
            "text": cut(text, room),
        }
        for (past, at, text), names in sorted(alike.items(), key=lambda item: item[0][0])
    ]
