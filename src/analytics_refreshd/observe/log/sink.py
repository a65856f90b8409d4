"""Log events to stderr, one a line.

Logging never raises, and delays the caller by a second at most, once.
"""

import logging
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from structlog.processors import JSONRenderer, add_log_level
from structlog.typing import EventDict, Processor

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.redaction import redact_error
from analytics_refreshd.observe.log.render import console, json_line

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PRIORITY = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}
_FIRST = ("timestamp", "level", "event", "database", "replica", "run_id")
_STALLED_SECONDS = 1.0
_PIPE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`[log]`: the lowest level to write, and the format.

    `json` is for machines, `console` for a person.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class JsonLog:
    """Log the daemon's events as its `EventLog`, from any thread.

    structlog filters by level, binds database and replica, and runs each event through a chain of processors. A run's
    id comes with each event and is never kept, so it cannot get into the line of another run. `lost` counts lines that
    could not be written: device full, pipe closed, reader stalled. The next line that is written carries the number
    since the last one as `lost_lines`. `trace_ids` gives the ids of the span that a line belongs to, from the id of its
    run.
    """

    def __init__(self, settings: LogSettings, sink: "LineSink", database: str, replica: str) -> None:
        self._sink = sink
        self._identity = {"database": database, "replica": replica}
        self.trace_ids: Callable[[object], Mapping[str, str]] = lambda run_id: {}
        self._processors: list[Processor] = [
            add_log_level,
            _add_time,
            _put_common_first,
            self._add_lost_lines,
            self._add_trace_ids,
        ]
        if settings.format == "console":
            self._processors.append(console(colour=sink.is_terminal))
        else:
            self._processors.append(JSONRenderer(json_line, allow_nan=False, separators=(",", ":")))
            if sink.is_journal:
                self._processors.append(_add_priority)
        self.set_level(settings.level)

    @property
    def lost(self) -> int:
        """Return how many lines were lost since the start."""
        return self._sink.lost

    def set_level(self, level: str) -> None:
        """Write events of `level` and above from now on."""
        self._least = _LEVELS[level]
        self._logger = structlog.wrap_logger(
            self._sink,
            processors=self._processors,
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
            context_class=dict,
            cache_logger_on_first_use=False,
        ).bind(**self._identity)

    def writes(self, level: str) -> bool:
        """Whether events of `level` are written."""
        return _LEVELS[level] >= self._least

    def emit(self, event: Event, *, level: str = "info", **fields: object) -> None:
        """Log `event`.

        An exception among the fields is logged as its type, redacted text and frames, without local variables.
        """
        try:
            own = {name: value for name, value in fields.items() if name not in self._identity}
            self._logger.log(_LEVELS.get(level, logging.INFO), event.value, **own)
        except Exception:
            # The work that is logged must not fail because of a log line.
            self._sink.lost += 1

    def _add_lost_lines(self, _logger: object, _method: str, line: EventDict) -> EventDict:
        unreported = self._sink.unreported
        if unreported:
            line["lost_lines"] = unreported
        return line

    def _add_trace_ids(self, _logger: object, _method: str, line: EventDict) -> EventDict:
        line.update(self.trace_ids(line.get("run_id")))
        return line


def _add_time(_logger: object, _method: str, line: EventDict) -> EventDict:
    line["timestamp"] = datetime.now(UTC)
    return line


def _put_common_first(_logger: object, _method: str, line: EventDict) -> EventDict:
    """Put the common fields first, and leave out one that is None, as run_id is outside of a run."""
    first = {name: value for name in _FIRST if (value := line.pop(name, None)) is not None}
    return first | dict(line)


def _add_priority(_logger: object, method: str, text: Any) -> str:
    return f"{_PRIORITY[method]}{text}"


class LineSink:
    """Write whole lines to a file descriptor within a bounded time.

    Every error is counted and none is raised. Python's own buffer is not used: with a full device, it would make the
    interpreter's exit fail. The descriptor is polled before each piece of at most a pipe's page. So a reader that
    stopped reading costs one second once, and nothing after that.
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
        """Return how many lines were lost since the last written one."""
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
    """Return the log on stderr, which also receives the libraries' own logging.

    If stderr is systemd's journal, each line starts with its priority, like `<6>` for info, which journald removes.
    Otherwise a line is only JSON.
    """
    if descriptor is None:
        try:
            descriptor = sys.stderr.fileno()
        except (AttributeError, OSError, ValueError):
            descriptor = 2
    log = JsonLog(settings, LineSink(descriptor, os.environ if environment is None else environment), database, replica)
    _send_libraries_to(log)
    return log


class _LibraryHandler(logging.Handler):
    """Log what libraries log, as `library.message`: errors as errors, the rest at level debug.

    What a library's warning means, as a skipped slot or a retry, the daemon logs as an event of its own.
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
        """Do nothing: the base class would print a traceback to the stream that failed."""


def _send_libraries_to(log: JsonLog) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(log))
    root.setLevel(logging.INFO)


def _is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Return whether systemd connected this stream to the journal; it names the device and inode."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
