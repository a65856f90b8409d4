"""Read log files and build the review of their incidents."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.wording import to_the_second
from analytics_refreshd.incident.fold import DatabaseFold
from analytics_refreshd.incident.lines import lines_of
from analytics_refreshd.incident.model import DatabaseLog, Incident
from analytics_refreshd.incident.parse import Tally, entries_of
from analytics_refreshd.incident.sort import Record, Sorter

DATABASES = 1000
"""The review covers this many databases. Lines of further ones are only counted."""
_PROGRESS_LINES = 2000

OnProgress = Callable[[str, int, int | None], None]
"""Called now and then with the phase, how much of it is done, and the total (None: unknown)."""


@dataclass(frozen=True, slots=True)
class Review:
    """What the logs contain.

    `incidents` are those that overlap the requested time, of all databases, oldest first.
    """

    since: datetime | None
    until: datetime | None
    lines: int
    events: int
    cut_lines: int
    foreign_lines: int
    unknown_events: int
    duplicate_lines: int
    unreadable_files: int
    databases: tuple[DatabaseLog, ...]
    incidents: tuple[Incident, ...]
    missing: tuple[str, ...]


def review(
    sources: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: OnProgress = lambda phase, done, total: None,
) -> Review:
    """Read every source as one log and return its review.

    A source is a path, or `-` for standard input. Raises UsageError if one cannot be read, and RefreshdError if the
    temporary folder has no room.
    """
    tally = Tally()
    with Sorter() as sorter:
        for source in sources:
            try:
                _read(source, tally, sorter, progress)
            except OSError as error:
                raise UsageError(f"{source} cannot be read: {error.strerror or error}") from error
        folds, beyond = _fold(sorter, tally, progress)
    logs = [log for name in sorted(folds) if (log := folds[name].result()) is not None]
    incidents = [item for log in logs for item in log.incidents if _touches(item, log.last_at, since, until)]
    return Review(
        since=since,
        until=until,
        lines=tally.lines,
        events=tally.events,
        cut_lines=tally.cut,
        foreign_lines=tally.foreign,
        unknown_events=tally.unknown_events,
        duplicate_lines=tally.duplicates,
        unreadable_files=tally.unreadable,
        databases=tuple(logs),
        incidents=tuple(sorted(incidents, key=lambda item: (item.started_at, item.database))),
        missing=tuple(_missing(tally, logs, since, until, beyond)),
    )


def _read(source: str, tally: Tally, sorter: Sorter, progress: OnProgress) -> None:
    if source == "-":
        _read_file(sys.stdin.buffer, None, tally, sorter, progress)
        return
    path = Path(source)
    with path.open("rb") as file:
        size = path.stat().st_size
        _read_file(file, size if path.is_file() else None, tally, sorter, progress)


def _read_file(file: BinaryIO, size: int | None, tally: Tally, sorter: Sorter, progress: OnProgress) -> None:
    read = 0
    for line in lines_of(file, tally):
        for entry in entries_of(line, tally):
            sorter.add(entry)
        read += len(line)
        if tally.lines % _PROGRESS_LINES == 0:
            progress("reading", _position(file, read), size)
    progress("reading", _position(file, read), size)


def _fold(sorter: Sorter, tally: Tally, progress: OnProgress) -> tuple[dict[str, DatabaseFold], int]:
    """Fold every line; also returns how many lines are of databases beyond the limit."""
    folds: dict[str, DatabaseFold] = {}
    beyond = 0
    for done, (at, database, _, _, fields) in enumerate(_once(sorter.sorted(), tally)):
        fold = folds.get(database)
        if fold is None:
            if len(folds) >= DATABASES:
                beyond += 1
                continue
            fold = folds[database] = DatabaseFold(database)
        fold.add(datetime.fromtimestamp(at, UTC), fields)
        if done % _PROGRESS_LINES == 0:
            progress("folding", done, len(sorter))
    return folds, beyond


def _position(file: BinaryIO, read: int) -> int:
    try:
        return file.tell()
    except (OSError, ValueError, io.UnsupportedOperation):
        return read


def _once(records: Iterator[Record], tally: Tally) -> Iterator[Record]:
    """Drop repeated lines: extracts of a log overlap, and some tools print a pod twice."""
    same: list[Record] = []
    for record in records:
        if same and same[0][:3] == record[:3]:
            if any(known[4] == record[4] for known in same):
                tally.duplicates += 1
                continue
            if len(same) < 100:
                same.append(record)
        else:
            same = [record]
        yield record


def _touches(incident: Incident, last_at: datetime, since: datetime | None, until: datetime | None) -> bool:
    ended = incident.ended_at or max(last_at, incident.started_at)
    return (since is None or ended >= since) and (until is None or incident.started_at <= until)


def _hint(tally: Tally) -> str:
    if not tally.lines or tally.left_out:
        return ""
    return (
        f" among {tally.lines:,} lines, neither as it was written nor within what a log tool wraps around it"
        ' ([log] format = "console" cannot be read)'
    )


def _missing(
    tally: Tally, logs: Sequence[DatabaseLog], since: datetime | None, until: datetime | None, beyond: int
) -> Iterator[str]:
    """Name what the log as a whole lacks."""
    if not logs:
        yield "everything: no line of the daemon's JSON log was found" + _hint(tally)
    if tally.left_out:
        yield (
            f"{tally.left_out} lines that `journalctl -o json` left out because they are over 4 KiB, failed runs among "
            "them: print them with `journalctl -o json --all`"
        )
    if tally.cut:
        yield f"{tally.cut} lines that were cut"
    if tally.unreadable:
        yield f"the rest of {tally.unreadable} compressed files that are damaged or end early"
    if tally.unknown_events:
        yield f"the meaning of {tally.unknown_events} lines of events that this version does not know"
    if beyond:
        yield f"{beyond} lines of databases beyond the first {DATABASES}"
    for log in logs:
        if since is not None and log.first_at > since:
            yield f"{log.database}: what was before {to_the_second(log.first_at)}, where the log begins"
        if log.last_at < (until or since or log.last_at):
            yield f"{log.database}: what was after {to_the_second(log.last_at)}, where the log ends"
        yield from (f"{log.database}: {text}" for text in log.missing)
