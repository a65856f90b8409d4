"""The log: what a line looks like, and that writing one never hurts."""

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from analytics_refreshd.core.events import Event
from analytics_refreshd.core.model import Outcome, ViewResult
from analytics_refreshd.observe.log.render import LINE_BYTES
from analytics_refreshd.observe.log.sink import JsonLog, LineSink, LogSettings, configure
from tests.support.waiting import eventually

RUN = UUID("6f1c1a2e-3f6d-4a57-9d0b-0c2a3d1d9f10")


class Written:
    """A log onto a file, and the lines in it."""

    def __init__(self, path: Path, settings: LogSettings) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND)
        self.log = JsonLog(settings, LineSink(self.descriptor, {}), "orders", "host-1")

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    made = Written(tmp_path / "log", LogSettings())
    yield made
    os.close(made.descriptor)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Written]:
    made = Written(tmp_path / "log", LogSettings(format="console"))
    yield made
    os.close(made.descriptor)


@pytest.fixture
def library_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_line_is_one_json_object_with_the_common_fields_first(written: Written) -> None:
    """Every line begins with timestamp, level, event, database, replica and, inside a run, run_id."""
    written.log.emit(Event.REFRESH_FINISHED, outcome=Outcome.OK, run_id=RUN)
    (line,) = written.lines
    assert list(line) == ["timestamp", "level", "event", "database", "replica", "run_id", "outcome"]
    assert line["event"] == "refresh.finished"
    assert (line["database"], line["replica"], line["run_id"]) == ("orders", "host-1", str(RUN))
    moment = datetime.strptime(str(line["timestamp"]), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)
    assert len(str(line["timestamp"])) == len("2026-03-01T02:14:05.123Z")


def test_fields_cannot_take_the_place_of_the_common_ones(written: Written) -> None:
    """A field named as a common one does not replace it."""
    written.log.emit(Event.CONFIG_LOADED, database="else", timestamp="never", replica="x")
    (line,) = written.lines
    assert (line["database"], line["replica"]) == ("orders", "host-1")
    assert line["timestamp"] != "never"


def test_values_become_what_json_has(written: Written) -> None:
    """Times are UTC, durations seconds, decimals numbers, enums and UUIDs text, sets and dataclasses plain."""
    east = timezone(timedelta(hours=5, minutes=30))
    written.log.emit(
        Event.CONFIG_LOADED,
        at=datetime(2026, 3, 1, 7, 44, 5, 123456, tzinfo=east),
        every=timedelta(minutes=5),
        price=Decimal("1.5"),
        views={"b", "a"},
        result=ViewResult("v", True, rows=3),
        nested={RUN: (Outcome.OK, None, True)},
        big=2**60,
    )
    (line,) = written.lines
    assert line["at"] == "2026-03-01T02:14:05.123Z"
    assert line["every"] == 300.0
    assert line["price"] == 1.5
    assert line["views"] == ["a", "b"]
    assert isinstance(line["result"], dict)
    assert line["result"]["rows"] == 3
    assert line["nested"] == {str(RUN): ["ok", None, True]}
    assert line["big"] == str(2**60)


@pytest.mark.fault
@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("-Infinity")])
def test_G11_numbers_that_json_lacks_become_null(written: Written, value: object) -> None:
    """NaN and infinity are null, since no JSON reader takes them."""
    written.log.emit(Event.REFRESH_FINISHED, duration_seconds=value)
    assert written.lines[0]["duration_seconds"] is None
    assert "NaN" not in written.text


@pytest.mark.fault
def test_H05_log_forging_in_json(written: Written) -> None:
    """Line breaks, escapes and invisible characters of an error text stay inside one line, encoded."""
    hostile = 'line1\n{"event":"forged"}\r\x1b[31m\x9b2J\u2028\u202e\ud800 end'
    written.log.emit(Event.VIEW_FAILED, error=hostile, level="error")
    assert written.text.count("\n") == 1
    assert written.text.rstrip("\n").isascii()
    assert written.text.rstrip("\n").isprintable()
    assert str(written.lines[0]["error"]).startswith('line1\n{"event":"forged"}')


@pytest.mark.fault
def test_H05_log_forging_on_the_console(console: Written) -> None:
    """A person's terminal gets no escape and no second line from an error text."""
    hostile = 'line1\n12:00 error "forged"\x1b[31m\x9b2J\u202e'
    console.log.emit(Event.VIEW_FAILED, level="error", error=hostile, reason="\x1b[2J")
    assert console.text.count("\n") == 1
    assert console.text.rstrip("\n").isprintable()
    assert r"\u001b[31m" in console.text


def test_the_console_is_short_and_uncoloured_in_a_file(console: Written) -> None:
    """Time, level, event, then the fields as they are where that is safe."""
    console.log.emit(Event.LEADER_ACQUIRED, epoch=3, reason="took over", city="Zürich", empty="")
    line = console.text[13:]
    assert line == 'info    leader.acquired epoch=3 reason="took over" city=Zürich empty=""\n'


def test_the_console_says_only_what_is_known_and_views_in_brief(console: Written) -> None:
    """A run without trouble shows no error, no reason and no braces."""
    views = [{"view": "recent_failures", "success": True, "rows": 12, "error": None}, {"view": "b", "rows": 0}]
    console.log.emit(
        Event.REFRESH_FINISHED, outcome="ok", reason=None, error=None, attempts=0, views=views, blockers=[]
    )
    line = console.text[13:]
    assert line == (
        "info    refresh.finished outcome=ok attempts=0 views=[recent_failures success=true rows=12; b rows=0]\n"
    )


def test_the_console_keeps_what_to_do_next(console: Written) -> None:
    """An alert's description ends with the command to type: it is not cut off on a terminal."""
    told = "it failed. " * 40 + "Next: analytics-refreshd check"
    console.log.emit(Event.ALERT_FIRING, level="warning", description=told)
    assert console.text.rstrip("\n").endswith('Next: analytics-refreshd check"')


@pytest.mark.fault
def test_H06_huge_text_is_cut_with_its_length_noted(written: Written) -> None:
    """Five megabytes of error text cost a kilobyte of log."""
    written.log.emit(Event.VIEW_FAILED, error="é" * 5_000_000)
    error = str(written.lines[0]["error"])
    assert len(error.encode()) <= 1024
    assert error.endswith("… (5000000 characters)")


def test_a_line_fits_what_container_runtimes_keep_whole(written: Written) -> None:
    """Fifty views that fail with a kilobyte each are still one line under 16 kB, with every view in it."""
    views = {f"view_{number}": {"success": False, "error": "e" * 1024} for number in range(50)}
    written.log.emit(Event.REFRESH_FINISHED, views=views, run_id=RUN)
    assert len(written.text) <= LINE_BYTES + 1
    found = written.lines[0]["views"]
    assert isinstance(found, dict)
    assert len(found) == 50


def test_a_line_that_cannot_fit_says_what_it_left_out(written: Written) -> None:
    """The scalars stay, the collection is named."""
    written.log.emit(Event.REFRESH_FINISHED, outcome="ok", views={str(n): ["x" * 50] * 5 for n in range(400)})
    assert len(written.text) <= LINE_BYTES + 1
    assert written.lines[0]["outcome"] == "ok"
    assert written.lines[0]["omitted"] == ["views"]


def test_levels_below_the_set_one_are_not_written(written: Written) -> None:
    """The level filters, and can be changed while running."""
    written.log.emit(Event.REFRESH_STARTED, level="debug")
    written.log.set_level("debug")
    written.log.emit(Event.REFRESH_STARTED, level="debug")
    written.log.set_level("error")
    written.log.emit(Event.VIEW_STALE, level="warning")
    assert [line["level"] for line in written.lines] == ["debug"]


@pytest.mark.fault
def test_H02_no_locals_and_no_secret_in_a_traceback(written: Written) -> None:
    """An exception is its type, redacted text and frames: a local variable is never printed."""

    def connect() -> None:
        password = "CANARY-7f3a"
        raise ValueError(f"cannot reach postgresql://app:{password}@db/orders")

    try:
        connect()
    except ValueError as error:
        written.log.emit(Event.LIBRARY_MESSAGE, level="error", exception=error)
    assert "CANARY" not in written.text
    exception = written.lines[0]["exception"]
    assert isinstance(exception, list)
    assert exception[0]["type"] == "ValueError"
    assert exception[0]["frames"][-1].endswith(" connect")


@pytest.mark.fault
def test_H18_no_context_of_an_older_run_in_a_new_line(written: Written) -> None:
    """A run's id appears in the lines that were given it, also on a thread that served another run before."""
    written.log.emit(Event.REFRESH_FINISHED, run_id=RUN)
    written.log.emit(Event.REFRESH_STARTED, level="info")
    assert "run_id" not in written.lines[1]


def test_emit_never_raises_whatever_it_is_given(written: Written) -> None:
    """A field whose text cannot be made costs that line and nothing else."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    written.log.emit(Event.VIEW_STALE, field=Broken())
    written.log.emit(Event.VIEW_STALE, level="no-such-level")
    assert [line["level"] for line in written.lines] == ["info"]
    assert written.log.lost == 1
    assert written.lines[0]["lost_lines"] == 1
    written.log.emit(Event.VIEW_STALE)
    assert "lost_lines" not in written.lines[1]


@pytest.mark.fault
def test_D17_full_device() -> None:
    """A full device swallows lines, which are counted."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    log = JsonLog(LogSettings(), LineSink(descriptor, {}), "orders", "host-1")
    log.emit(Event.DAEMON_STARTED)
    log.emit(Event.DAEMON_STARTED)
    os.close(descriptor)
    log.emit(Event.DAEMON_STOPPED)
    assert log.lost == 3
    LineSink(descriptor, {}).msg("no error here either")


@pytest.mark.fault
def test_D17_closed_pipe() -> None:
    """A reader that went away neither raises nor kills."""
    reader, writer = os.pipe()
    os.close(reader)
    log = JsonLog(LogSettings(), LineSink(writer, {}), "orders", "host-1")
    log.emit(Event.DAEMON_STARTED)
    os.close(writer)
    assert log.lost == 1


@pytest.mark.fault
def test_D17_reader_that_stopped_reading() -> None:
    """A full pipe costs lines, not the caller's time; once it is read again the loss is told on a line of its own."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    log = JsonLog(LogSettings(), LineSink(writer, {}), "orders", "host-1")

    def fill() -> None:
        for _ in range(300):
            log.emit(Event.CONFIG_LOADED, filler=["x" * 1000] * 9)

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    filling.join(30)
    assert not filling.is_alive()
    assert log.lost > 200
    text = b""

    def drain() -> bytes:
        nonlocal text
        with suppress(BlockingIOError):
            while chunk := os.read(reader, 65536):
                text += chunk
        return text

    drain()
    lost = log.lost
    log.emit(Event.DAEMON_STOPPED)
    last = eventually(lambda: text.splitlines()[-1] if drain().endswith(b"\n") else None)
    assert json.loads(last)["event"] == "daemon.stopped"
    assert json.loads(last)["lost_lines"] == lost
    os.close(reader)
    os.close(writer)


def test_threads_do_not_tear_each_others_lines(written: Written) -> None:
    """Lines written at once by many threads stay whole."""

    def write() -> None:
        for number in range(50):
            written.log.emit(Event.CONFIG_LOADED, number=number, filler=["y" * 1000] * 15)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written.lines) == 400


def test_priority_prefix_only_where_stderr_is_the_journal() -> None:
    """journald takes the prefix off again; any other reader gets JSON and nothing else."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = os.fstat(ours.fileno())
        for stream, expected in ((f"{found.st_dev}:{found.st_ino}", b"<4>{"), ("1:2", b'{"'), ("", b'{"')):
            sink = LineSink(ours.fileno(), {"JOURNAL_STREAM": stream})
            JsonLog(LogSettings(), sink, "orders", "host-1").emit(Event.VIEW_STALE, level="warning")
            assert theirs.recv(65536).startswith(expected)


@pytest.mark.usefixtures("library_logging")
def test_libraries_speak_through_the_same_pipe(tmp_path: Path) -> None:
    """A library's error is an error line without secrets; its warnings are for debugging only."""
    descriptor = os.open(tmp_path / "log", os.O_CREAT | os.O_RDWR | os.O_APPEND)
    for _ in range(2):
        log = configure(LogSettings(), "orders", "host-1", descriptor=descriptor, environment={})
    logging.getLogger("urllib3.connectionpool").warning("Pool size is %d", 3)
    try:
        raise OSError("password=CANARY-7f3a")
    except OSError:
        logging.getLogger("apscheduler").exception("Job raised")
    log.set_level("debug")
    logging.getLogger("urllib3.connectionpool").warning("Pool size is %d, token=CANARY-7f3a", 3)
    os.close(descriptor)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["level"], line["event"], line["library"], line["message"]) for line in lines] == [
        ("error", "library.message", "apscheduler", "Job raised"),
        ("debug", "library.message", "urllib3.connectionpool", "Pool size is 3, token=***"),
    ]
    assert "CANARY" not in (tmp_path / "log").read_text()
