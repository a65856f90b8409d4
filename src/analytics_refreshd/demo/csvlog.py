"""Read a real action log from CSV, plain or gzipped.

Every line is checked. All times are shifted so that the last row is now. The columns are those of `action_results`, and
`organization_id` of the trigger. An empty field is NULL. A time without an offset is UTC.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.demo import DemoError
from analytics_refreshd.demo.actions import Action

COLUMNS = (
    "id",
    "job_id",
    "trigger_id",
    "event_id",
    "action_type",
    "status",
    "executed_at",
    "duration_ms",
    "error_message",
    "response_data",
    "retry_count",
    "organization_id",
)
_REQUIRED = ("id", "job_id", "action_type", "status")
_STATUSES = ("success", "failed", "retrying")
_INTEGER_MAX = 2**31 - 1
# Error messages and responses may be long; the csv module stops at 128 KiB.
_FIELD_MAX = 64 * 1024 * 1024
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class ActionLog:
    """A log that was read and checked once.

    `organizations` maps each trigger's id to its organization's, or to None. `last_executed_at` is None if no row has a
    time.
    """

    path: Path
    rows: int
    last_executed_at: datetime | None
    organizations: dict[str, str | None]

    def actions(self, now: datetime) -> Iterator[Action]:
        """Yield the rows, shifted so that the last one is at `now`."""
        shift = now - self.last_executed_at if self.last_executed_at else timedelta(0)
        for line, action, _ in _records(self.path):
            try:
                yield _shifted(action, shift)
            except OverflowError:
                _refuse(self.path, line, "executed_at is too far from the last one to be shifted")


def read_log(path: Path) -> ActionLog:
    """Read and check the whole file.

    Raises DemoError with file and line for the first mistake, and UsageError if the file cannot be read.
    """
    lines: dict[str, int] = {}
    organizations: dict[str, str | None] = {}
    last: datetime | None = None
    for line, action, organization_id in _records(path):
        if action.id in lines:
            _refuse(path, line, f"id {action.id!r} was used in line {lines[action.id]} already")
        lines[action.id] = line
        if action.trigger_id is not None:
            organizations[action.trigger_id] = organization_id or organizations.get(action.trigger_id)
        if action.executed_at is not None:
            last = max(last, action.executed_at) if last else action.executed_at
    if not lines:
        raise DemoError(f"{path}: there is no action in this file, only a header")
    return ActionLog(path, len(lines), last, organizations)


def _shifted(action: Action, shift: timedelta) -> Action:
    return replace(action, executed_at=action.executed_at + shift) if action.executed_at else action


def _refuse(path: Path, line: int, problem: str) -> NoReturn:
    raise DemoError(f"{path}, line {line}: {problem}")


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOBase]:
    """Open a plain or gzipped file as text; its content decides which, not its name."""
    with path.open("rb") as raw:
        is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
        binary = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
            yield text


def _records(path: Path) -> Iterator[tuple[int, Action, str | None]]:
    """Yield line number, action and organization of each record."""
    line = 1
    try:
        with _opened(path) as text:
            csv.field_size_limit(_FIELD_MAX)
            rows = csv.reader(text, strict=True)
            header = next(rows, [])
            positions = _positions(path, header)
            line = rows.line_num + 1
            for row in rows:
                if row:
                    if len(row) != len(header):
                        _refuse(path, line, f"{len(row)} fields where the header has {len(header)}")
                    yield line, *_parse(path, line, {name: row[at] for name, at in positions.items()})
                line = rows.line_num + 1
    except (EOFError, zlib.error) as error:
        raise DemoError(f"{path}, line {line}: the gzip file is cut short or damaged here; copy it again") from error
    except gzip.BadGzipFile as error:
        raise DemoError(f"{path}, line {line}: the gzip file is damaged: {error}") from error
    except UnicodeDecodeError as error:
        raise DemoError(f"{path}, near line {line}: the text is not UTF-8") from error
    except csv.Error as error:
        raise DemoError(f"{path}, line {line}: {error}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _positions(path: Path, header: list[str]) -> dict[str, int]:
    if not header:
        _refuse(path, 1, "the file is empty; the first line names the columns")
    names = [name.strip() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        what = f"column {missing[0]} is" if len(missing) == 1 else f"columns {', '.join(missing)} are"
        _refuse(path, 1, f"{what} missing")
    repeated = sorted({name for name in COLUMNS if names.count(name) > 1})
    if repeated:
        _refuse(path, 1, f"column {repeated[0]} occurs twice")
    return {name: names.index(name) for name in COLUMNS}


def _parse(path: Path, line: int, row: dict[str, str]) -> tuple[Action, str | None]:
    for name, value in row.items():
        if "\x00" in value:
            _refuse(path, line, f"{name} holds a NUL character, which PostgreSQL cannot store")
    for name in _REQUIRED:
        if not row[name]:
            _refuse(path, line, f"{name} is empty")
    if row["status"] not in _STATUSES:
        _refuse(path, line, f"status {_shown(row['status'])} is unknown; it must be one of {', '.join(_STATUSES)}")
    action = Action(
        id=row["id"],
        job_id=row["job_id"],
        trigger_id=row["trigger_id"] or None,
        event_id=row["event_id"] or None,
        action_type=row["action_type"],
        status=row["status"],
        executed_at=_time(path, line, row["executed_at"]),
        duration_ms=_whole(path, line, "duration_ms", row["duration_ms"]),
        error_message=row["error_message"] or None,
        response_data=_json(path, line, row["response_data"]),
        retry_count=_whole(path, line, "retry_count", row["retry_count"]) or 0,
    )
    return action, row["organization_id"] or None


def _time(path: Path, line: int, text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(path, line, f"executed_at {_shown(text)} is not a time like 2026-01-31T12:00:00+00:00")


def _whole(path: Path, line: int, name: str, text: str) -> int | None:
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= _INTEGER_MAX:
        _refuse(path, line, f"{name} {_shown(text)} is not a whole number from 0 to {_INTEGER_MAX}")
    return value


def _json(path: Path, line: int, text: str) -> str | None:
    """Return the text if PostgreSQL takes it as jsonb: without NaN, NUL or half a surrogate pair."""
    if not text:
        return None
    try:
        json.dumps(json.loads(text, parse_constant=_no_constant), ensure_ascii=False).encode()
        is_storable = _ESCAPED_NUL.search(text) is None
    except (ValueError, RecursionError):
        is_storable = False
    if not is_storable:
        _refuse(path, line, f"response_data {_shown(text)} is not JSON that PostgreSQL can store")
    return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _shown(text: str) -> str:
    """Return a value for a message: short, and without control characters."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
