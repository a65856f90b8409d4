"""Finding the daemon's lines in what a log tool printed.

Read are: the JSON lines themselves; `journalctl -o json`, whose MESSAGE is a text or, where journald doubts that it is
one, an array of bytes; and any other tool's lines that carry the JSON after a prefix: `kubectl logs` with `--prefix`
and `--timestamps`, container runtimes' files, `journalctl -o short`. Nothing in a log can make reading fail.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from analytics_refreshd.core.events import Event
from analytics_refreshd.incident.fold import EVENTS, slim

LINE_BYTES = 1_000_000
"""A longer line is read in pieces, which then count as cut: memory must not follow the input."""
_GZIP = b"\x1f\x8b"
_LATEST = 253402300000.0
_SIGNS = ('"timestamp":', '"event":', '"success":', '"MESSAGE":')
_GOOD_RUN = re.compile(
    rb'(?:[^{"]*)\{"timestamp":"([^"\\]{20,32})","level":"info","event":"refresh\.finished","database":"([^"\\]+)",'
    rb'"replica":"([^"\\]*)","run_id":"([^"\\]{36})","origin":"(?:schedule|command)","outcome":"ok","reason":null,'
    rb'"sqlstate":null,"error":null,"scheduled_at":(?:null|"([^"\\]{20,32})"),"started_at":"[^"\\]*"[^\\]*\}\]\}\s*'
)
"""A run that was ok, as the daemon writes it: nearly every line of a long log, and parsing it whole takes five times as
long. Anything else about a line, be it an escape or `lost_lines` at its end, sends it to the parser."""
_decode = json.JSONDecoder().raw_decode

Entry = tuple[float, str, str, dict[str, Any]]
"""A line: its time in Unix seconds, its database, its replica, and its fields."""


@dataclass(slots=True)
class Tally:
    """What became of the lines. `cut`: begun or ended in the middle; `foreign`: never the daemon's; `unknown_events`:
    of a newer version; `duplicates`: given twice; `unreadable`: compressed files that end early or are damaged."""

    lines: int = 0
    events: int = 0
    cut: int = 0
    foreign: int = 0
    unknown_events: int = 0
    duplicates: int = 0
    unreadable: int = 0


def lines_of(file: BinaryIO, tally: Tally) -> Iterator[bytes]:
    """The lines of a file, decompressed where it is gzip."""
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)  # type: ignore[type-var]
    plain: Any = buffered
    if buffered.peek(2)[:2] == _GZIP:
        plain = gzip.GzipFile(fileobj=buffered)
    try:
        while line := plain.readline(LINE_BYTES):
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        tally.unreadable += 1


def entries_of(line: bytes, tally: Tally) -> list[Entry]:
    """The daemon's lines in one line of input: one as a rule, none in a foreign line, two where a newline is lost."""
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
    """Collect the objects in `text`; tells whether a part of one was met, and whether anything was not the daemon's."""
    broken = foreign = False
    start = text.find("{")
    if start < 0:
        return any(sign in text for sign in _SIGNS), True
    while start >= 0:
        try:
            value, end = _decode(text, start)
        except (ValueError, RecursionError):
            again = text.find('{"timestamp"', start + 1)
            if again < 0:
                return broken or any(sign in text[start:] for sign in _SIGNS), True
            broken, start = True, again
            continue
        entry = _entry(value)
        if entry is not None:
            found.append(entry)
        elif not nested and (inner := _message(value)) is not None:
            good = _good_run(inner.encode("utf-8", "replace"))
            if good is not None:
                found.append(good)
            else:
                in_broken, in_foreign = _scan(inner, found, tally, nested=True)
                broken, foreign = broken or in_broken, foreign or in_foreign
        elif _is_unknown_event(value):
            tally.unknown_events += 1
        else:
            foreign = True
            if any(sign in text[:start] or sign in text[end:] for sign in _SIGNS):
                return True, True  # an object within one whose beginning is not there
        start = text.find("{", end)
    return broken, foreign


def _entry(value: Any) -> Entry | None:
    if not isinstance(value, dict):
        return None
    event, database, stamp = value.get("event"), value.get("database"), value.get("timestamp")
    if not (isinstance(event, str) and isinstance(database, str) and isinstance(stamp, str)) or event not in EVENTS:
        return None
    at = _seconds(stamp)
    if at is None:
        return None
    replica = value.get("replica")
    return at, database, replica if isinstance(replica, str) else "", slim(value)


def _seconds(stamp: str) -> float | None:
    """Unix seconds of an RFC 3339 time; None for anything else, or beyond what a log can hold."""
    try:
        moment = datetime.fromisoformat(stamp)
        at = moment.timestamp() if moment.tzinfo is not None else -1.0
    except (ValueError, OverflowError):
        return None
    return at if 0 <= at < _LATEST else None


def _good_run(line: bytes) -> Entry | None:
    """The same entry that the parser and `slim` would make; None where they have to be asked."""
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
    return at, name, speaker, fields


def _is_unknown_event(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) for name in ("timestamp", "level", "event", "database", "replica")
    )


def _message(value: Any) -> str | None:
    """What journald or a container runtime carries inside an object of its own; None where it carries nothing."""
    if not isinstance(value, dict):
        return None
    if "MESSAGE" in value:
        message = value["MESSAGE"]
        if message is None:
            return '"MESSAGE":'  # journald leaves out what is too large: a cut line
        if isinstance(message, list) and message:
            if all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 256 for item in message):
                return bytes(message).decode("utf-8", "replace")
            return "".join(item for item in message if isinstance(item, str))
    else:
        message = value.get("log")
    return message if isinstance(message, str) else None
