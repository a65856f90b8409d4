"""Find the daemon's lines in what a log tool printed.

Read are the JSON lines themselves, and any line with a prefix before the JSON: `kubectl logs` with `--prefix` and
`--timestamps`, files of container runtimes, `journalctl -o short`. So are objects that hold our lines as texts or as
objects: `journalctl -o json`, whose MESSAGE is a text, or an array of bytes if journald takes it for binary; Docker's
files; what Loki, Elasticsearch and the clouds' log stores export. Nothing in a log can make reading fail.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analytics_refreshd.core.events import Event
from analytics_refreshd.incident.fields import slim
from analytics_refreshd.incident.fold import EVENTS

LINE_BYTES = 1_000_000
"""A longer line is read in pieces, which count as cut, so that one line cannot use up the memory."""
_LATEST = 253402300000.0
_DEPTH = 12
_STAMPS = ("timestamp", "@timestamp", "time")
_TOO_LONG = "null"
"""What stands for a MESSAGE over 4 KiB, which `journalctl -o json` leaves out unless it is given --all."""
_SIGNS = ('"timestamp":', '"event":', '"success":', '"MESSAGE":')
_GOOD_RUN = re.compile(
    rb'(?:[^{"]*)\{"timestamp":"([^"\\]{20,32})","level":"info","event":"refresh\.finished","database":"([^"\\]+)",'
    rb'"replica":"([^"\\]*)","run_id":"([^"\\]{36})","origin":"(?:schedule|command)","outcome":"ok","reason":null,'
    rb'"sqlstate":null,"error":null,"scheduled_at":(?:null|"([^"\\]{20,32})"),"started_at":"[^"\\]*"[^\\]*\}\]\}\s*'
)
"""A successful run as the daemon writes it. Nearly every line of a long log is one, and the parser takes five times as
long. A line that differs in any way, even by an escape or `lost_lines`, goes to the parser."""
_VIEW = re.compile(rb'"view":"([^"\\]+)"')
_LITERAL = '"{\\"timestamp\\":'
"""How one of our lines begins within an object that wraps it."""
_decode = json.JSONDecoder().raw_decode

Entry = tuple[float, str, str, dict[str, Any]]
"""A line: its time in Unix seconds, its database, its replica, and its fields."""


@dataclass(slots=True)
class Tally:
    """Count the lines read, by kind.

    `cut` lines begin or end in the middle. `foreign` lines are not the daemon's. `unknown_events` are of a newer
    version. `left_out` lines were too long for what printed them. `duplicates` were given twice. `unreadable` counts
    compressed files that end early or are damaged.
    """

    lines: int = 0
    events: int = 0
    cut: int = 0
    foreign: int = 0
    unknown_events: int = 0
    left_out: int = 0
    duplicates: int = 0
    unreadable: int = 0


def entries_of(line: bytes, tally: Tally) -> list[Entry]:
    """Return the daemon's lines within one line of input.

    Normally one. None for a foreign line, and two if a newline was lost between them.
    """
    tally.lines += 1
    entry = _good_run(line)
    if entry is not None:
        tally.events += 1
        return [entry]
    text = line.decode("utf-8", "replace")
    if text.isspace():
        return []
    found: list[Entry] = []
    broken, foreign = _scan(text, found, tally, nested=False)
    tally.events += len(found)
    if broken:
        tally.cut += 1
    elif foreign and not found:
        tally.foreign += 1
    return found


def _scan(text: str, found: list[Entry], tally: Tally, *, nested: bool) -> tuple[bool, bool]:
    """Collect the objects in `text`. Returns whether one was broken, and whether anything was not the daemon's."""
    broken = foreign = False
    start = text.find("{")
    if start < 0:
        return any(sign in text for sign in _SIGNS), True
    while start >= 0:
        try:
            value, end = _decode(text, start)
        except (ValueError, RecursionError):
            if text[start + 1 : start + 2].isalpha():  # labels, as in {app="x"}
                foreign, start = True, text.find("{", start + 1)
                continue
            if not nested and (ended := _literals(text, start, found, tally)):
                broken, start = True, text.find("{", ended)
                continue
            again = text.find('{"timestamp"', start + 1)
            if again < 0:
                return broken or any(sign in text[start:] for sign in _SIGNS), True
            broken, start = True, again
            continue
        entry = _entry(value)
        if entry is not None:
            found.append(entry)
        elif not nested and (inner := _message(value)) is not None:
            if inner is _TOO_LONG:
                tally.left_out += 1
                return False, False
            good = _good_run(inner.encode("utf-8", "replace"))
            if good is not None:
                found.append(good)
            else:
                in_broken, in_foreign = _scan(inner, found, tally, nested=True)
                broken, foreign = broken or in_broken, foreign or in_foreign
        elif not nested and _wraps(value, found, tally):
            pass
        elif _is_unknown_event(value):
            tally.unknown_events += 1
        else:
            foreign = True
            if any(sign in text[:start] or sign in text[end:] for sign in _SIGNS):
                return True, True  # the outer object's beginning was cut off
        start = text.find("{", end)
    return broken, foreign


def _wraps(value: Any, found: list[Entry], tally: Tally) -> bool:
    """Collect what an object of a log store holds. Returns False if that is nothing."""
    before, unknown = len(found), tally.unknown_events
    if _within(value, found, tally):
        tally.cut += 1
    return len(found) > before or tally.unknown_events > unknown


def _literals(text: str, start: int, found: list[Entry], tally: Tally) -> int:
    """Collect our lines from the texts within an object that is cut off. Returns where the last one ends, or 0."""
    ended, at = 0, text.find(_LITERAL, start)
    while at >= 0:
        try:
            inner, end = _decode(text, at)
        except ValueError:
            break
        _scan(inner, found, tally, nested=True)
        ended, at = end, text.find(_LITERAL, end)
    return ended


def _entry(value: Any, stamp: str | None = None) -> Entry | None:
    """Return the entry that an object is. `stamp` is its time where a log store keeps that outside of the object."""
    if not isinstance(value, dict):
        return None
    event, database = value.get("event"), value.get("database")
    stamp = value.get("timestamp", stamp)
    if not (isinstance(event, str) and isinstance(database, str) and isinstance(stamp, str)) or event not in EVENTS:
        return None
    at = _seconds(stamp)
    if at is None:
        return None
    replica = value.get("replica")
    return at, database, replica if isinstance(replica, str) else "", slim({**value, "timestamp": stamp})


def _within(value: Any, found: list[Entry], tally: Tally, stamp: str | None = None, depth: int = _DEPTH) -> bool:
    """Collect the daemon's lines from what a log store wraps around them.

    They are objects, or texts, at any place of the object: Loki, Elasticsearch, Google Cloud, CloudWatch and others
    differ in nothing else. Returns whether one was broken.
    """
    broken = False
    if isinstance(value, dict):
        entry = _entry(value, stamp)
        if entry is not None:
            found.append(entry)
            return False
        own = next((value[name] for name in _STAMPS if isinstance(value.get(name), str)), stamp)
        items, stamp = list(value.values()), own
    elif isinstance(value, list):
        items = value
    elif isinstance(value, str) and "{" in value and any(sign in value for sign in _SIGNS):
        good = _good_run(value.encode("utf-8", "replace"))
        if good is not None:
            found.append(good)
            return False
        return _scan(value, found, tally, nested=True)[0]
    else:
        return False
    for item in items if depth else ():
        broken = _within(item, found, tally, stamp, depth - 1) or broken
    return broken


def _seconds(stamp: str) -> float | None:
    """Return the Unix seconds of an RFC 3339 time; None for anything else."""
    try:
        moment = datetime.fromisoformat(stamp)
        at = moment.timestamp() if moment.tzinfo is not None else -1.0
    except (ValueError, OverflowError):
        return None
    return at if 0 <= at < _LATEST else None


def _good_run(line: bytes) -> Entry | None:
    """Return the entry that the parser and `slim` would make; None if the line needs them."""
    good = _GOOD_RUN.fullmatch(line)
    if good is None or line.count(b'"timestamp":') != 1:
        return None
    stamp, database, replica, run_id, slot = good.groups()
    at = _seconds(stamp.decode("utf-8", "replace"))
    if at is None:
        return None
    name, speaker = database.decode("utf-8", "replace"), replica.decode("utf-8", "replace")
    fields = {
        "timestamp": stamp.decode("utf-8", "replace"),
        "level": "info",
        "event": Event.REFRESH_FINISHED.value,
        "database": name,
        "replica": speaker,
        "run_id": run_id.decode("utf-8", "replace"),
        "outcome": "ok",
        "scheduled_at": slot.decode("utf-8", "replace") if slot is not None else None,
    }
    if b'"isolation":"view"' in line:
        fields["refreshed_views"] = sorted(view.decode("utf-8", "replace") for view in {*_VIEW.findall(line)})
    return at, name, speaker, fields


def _is_unknown_event(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) for name in ("timestamp", "level", "event", "database", "replica")
    )


def _message(value: Any) -> str | None:
    """Return the line that journald or a container runtime wrapped into its own object, if any."""
    if not isinstance(value, dict):
        return None
    if "MESSAGE" in value:
        message = value["MESSAGE"]
        if message is None:
            return _TOO_LONG
        if isinstance(message, list) and message:
            if all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 256 for item in message):
                return bytes(message).decode("utf-8", "replace")
            return "".join(item for item in message if isinstance(item, str))
    else:
        message = value.get("log")
    return message if isinstance(message, str) else None
