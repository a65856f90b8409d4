"""Find the daemon's lines in what a log tool printed.

Three forms are read. The JSON lines themselves. `journalctl -o json`, whose MESSAGE is a text, or an array of bytes if
journald takes it for binary. Lines of any tool that puts a prefix before the JSON: `kubectl logs` with `--prefix` and
`--timestamps`, files of container runtimes, `journalctl -o short`. Nothing in a log can make reading fail.
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
"""A longer line is read in pieces, which count as cut, so that one line cannot use up the memory."""
_GZIP = b"\x1f\x8b"
_LATEST = 253402300000.0
_SIGNS = ('"timestamp":', '"event":', '"success":', '"MESSAGE":')
_GOOD_RUN = re.compile(
    rb'(?:[^{"]*)\{"timestamp":"([^"\\]{20,32})","level":"info","event":"refresh\.finished","database":"([^"\\]+)",'
    rb'"replica":"([^"\\]*)","run_id":"([^"\\]{36})","origin":"(?:schedule|command)","outcome":"ok","reason":null,'
    rb'"sqlstate":null,"error":null,"scheduled_at":(?:null|"([^"\\]{20,32})"),"started_at":"[^"\\]*"[^\\]*\}\]\}\s*'
)
"""A successful run as the daemon writes it. Nearly every line of a long log is one, and the parser takes five times as
long. A line that differs in any way, even by an escape or `lost_lines`, goes to the parser."""
_decode = json.JSONDecoder().raw_decode

Entry = tuple[float, str, str, dict[str, Any]]
"""A line: its time in Unix seconds, its database, its replica, and its fields."""


@dataclass(slots=True)
class Tally:
    """Count the lines read, by kind.

    `cut` lines begin or end in the middle. `foreign` lines are not the daemon's. `unknown_events` are of a newer
    version. `duplicates` were given twice. `unreadable` counts compressed files that end early or are damaged.
    """

    lines: int = 0
    events: int = 0
    cut: int = 0
    foreign: int = 0
    unknown_events: int = 0
    duplicates: int = 0
    unreadable: int = 0


def lines_of(file: BinaryIO, tally: Tally) -> Iterator[bytes]:
    """Yield the lines of a file, decompressed if it is gzip."""
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
                return True, True  # the outer object's beginning was cut off
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
            return '"MESSAGE":'  # journald writes null for a line that is too large; count it as cut
        if isinstance(message, list) and message:
            if all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 256 for item in message):
                return bytes(message).decode("utf-8", "replace")
            return "".join(item for item in message if isinstance(item, str))
    else:
        message = value.get("log")
    return message if isinstance(message, str) else None
