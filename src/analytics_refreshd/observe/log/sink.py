"""The log: one JSON object a line on stderr, which never fails and never delays its caller."""

import json
import logging
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.redaction import LIMIT_BYTES, redact_error
from analytics_refreshd.observe.jsonable import plain

LINE_BYTES = 16_000
"""A longer line is cut further: container runtimes split at 16 KiB, and half a JSON object is none."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PRIORITY = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}
_COLOUR = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
_FIRST = ("timestamp", "level", "event", "database", "replica", "run_id")
_STALLED_SECONDS = 1.0
_PIPE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`[log]`: the lowest level written, and `json` for machines or `console` for a person."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class JsonLog:
    """The daemon's `EventLog`. Thread-safe; holds no context between calls, so no run's id leaks into another's line.

    `lost` counts lines that could not be written: device full, pipe closed, reader stalled. The next line that
    gets through carries the number since the last one as `lost_lines`.
    """

    def __init__(self, settings: LogSettings, sink: "LineSink", database: str, replica: str) -> None:
        self._sink = sink
        self._identity = {"database": database, "replica": replica}
        self._render = _console(sink.is_terminal) if settings.format == "console" else _json_line
        self._prefix = sink.is_journal and settings.format == "json"
        self.set_level(settings.level)

    @property
    def lost(self) -> int:
        """Lines lost since the start."""
        return self._sink.lost

    def set_level(self, level: str) -> None:
        """Write events of `level` and above from now on."""
        self._logger = structlog.wrap_logger(
            self._sink,
            processors=[self._arrange, self._line],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
            context_class=dict,
            cache_logger_on_first_use=False,
        )

    def emit(self, event: Event, *, level: str = "info", **fields: object) -> None:
        """Log `event`. An exception among the fields becomes its type, redacted text and frames, without locals."""
        try:
            self._logger.log(_LEVELS.get(level, logging.INFO), event.value, fields=fields)
        except Exception:
            # A log line is never worth the work it reports on.
            self._sink.lost += 1

    def _arrange(self, _logger: object, method: str, given: MutableMapping[str, Any]) -> Mapping[str, object]:
        now = datetime.now(UTC)
        extra = dict(given["fields"])
        line: dict[str, object] = {
            "timestamp": now,
            "level": method,
            "event": given["event"],
            **self._identity,
            "run_id": extra.pop("run_id", None),
        }
        if line["run_id"] is None:
            del line["run_id"]
        line.update((key, value) for key, value in extra.items() if key not in line)
        unreported = self._sink.unreported
        if unreported:
            line["lost_lines"] = unreported
        return line

    def _line(self, _logger: object, method: str, line: Mapping[str, object]) -> str:
        text = self._render(line)
        return (_PRIORITY[method] if self._prefix else "") + text


class LineSink:
    """Whole lines onto a file descriptor, unbuffered, bounded in time, swallowing every error.

    Writing past Python's own buffer keeps a full device from failing the interpreter's exit. Before each piece of
    at most a pipe's page the descriptor is polled, so a reader that stopped reading costs one second once and
    nothing after that.
    """

    def __init__(self, descriptor: int, environment: Mapping[str, str]) -> None:
        self.lost = 0
        self._reported = 0
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._stalled = False
        self._torn = False
        self.is_journal = _is_journal(descriptor, environment)
        self.is_terminal = os.isatty(descriptor) and "NO_COLOR" not in environment

    @property
    def unreported(self) -> int:
        """Lines lost since the last one that was written."""
        return self.lost - self._reported

    def msg(self, text: str) -> None:
        """Write one line."""
        data = text.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            before = self.lost
            if self._write(b"\n" + data if self._torn else data):
                self._torn = False
                self._reported = before
            else:
                self.lost += 1

    debug = info = warning = error = log = msg

    def _write(self, data: bytes) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        rest = memoryview(data)
        try:
            while rest:
                ready = poll.poll(0 if self._stalled else _STALLED_SECONDS * 1000)
                self._stalled = not ready
                if not ready:
                    break
                rest = rest[os.write(self._descriptor, rest[:_PIPE_BYTES]) :]
        except (OSError, ValueError):
            pass
        if rest and len(rest) < len(data):
            # The next line must not continue this one.
            self._torn = True
        return not rest


def configure(
    settings: LogSettings,
    database: str,
    replica: str,
    *,
    descriptor: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> JsonLog:
    """The log on stderr, with the libraries' own logging led into it.

    Where stderr is systemd's journal each line starts with its priority, `<6>` for info, which journald takes off
    again; everywhere else a line is JSON and nothing else.
    """
    if descriptor is None:
        try:
            descriptor = sys.stderr.fileno()
        except (AttributeError, OSError, ValueError):
            descriptor = 2
    log = JsonLog(settings, LineSink(descriptor, os.environ if environment is None else environment), database, replica)
    _lead_libraries_into(log)
    return log


class _LibraryHandler(logging.Handler):
    """What libraries log, as `library.message`: their errors as errors, the rest for debugging only.

    The daemon says itself, in its own events, what a library's warning means: a skipped slot, a retry.
    """

    def __init__(self, log: JsonLog) -> None:
        super().__init__(logging.INFO)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = redact_error(record.getMessage())
            level = "error" if record.levelno >= logging.ERROR else "debug"
            error = record.exc_info[1] if record.exc_info else None
            self.log.emit(
                Event.LIBRARY_MESSAGE,
                level=level,
                library=record.name,
                message=message,
                **({"exception": error} if error else {}),
            )
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the base class would print a traceback to the stream that just failed."""


def _lead_libraries_into(log: JsonLog) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(log))
    root.setLevel(logging.INFO)


def _json_line(line: Mapping[str, object]) -> str:
    """Pure ASCII: everything else, terminal escapes and line separators included, is written as \\uXXXX."""
    text = ""
    for limit in (LIMIT_BYTES, 200, 60):
        text = json.dumps(plain(line, limit), allow_nan=False, separators=(",", ":"))
        if len(text) <= LINE_BYTES:
            return text
    small = {key: value for key, value in line.items() if not isinstance(value, Mapping | list | tuple)}
    small = dict(list(small.items())[:50])
    small["omitted"] = [str(key)[:40] for key in line if key not in small][:20]
    return json.dumps(plain(small, 60), allow_nan=False, separators=(",", ":"))


def _console(colour: bool) -> Callable[[Mapping[str, object]], str]:
    def render(line: Mapping[str, object]) -> str:
        values = {str(key): plain(value, 200) for key, value in line.items()}
        time, level, event = (str(values.pop(key)) for key in ("timestamp", "level", "event"))
        values.pop("database", None)
        values.pop("replica", None)
        pairs = " ".join(f"{_bare(key)}={_bare(value)}" for key, value in values.items())
        shown = f"\x1b[{_COLOUR[level]}m{level:<7}\x1b[0m \x1b[1m{event}\x1b[0m" if colour else f"{level:<7} {event}"
        return f"{time[11:23]} {shown} {pairs}".rstrip()

    return render


def _bare(value: object) -> str:
    """A value as it is where that is safe and plain to read, as JSON otherwise."""
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(" \"'=\\"):
        return value
    return json.dumps(value, allow_nan=False, ensure_ascii=not _printable(value))


def _printable(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """systemd names the device and inode of the stream that it connected to the journal."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
