"""A real log as CSV: what is read from it, and one sentence with a line number for what is wrong in it."""

import gzip
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.demo import DemoError
from analytics_refreshd.demo.csvlog import COLUMNS, read_log

NOW = datetime(2026, 3, 18, 15, 20, tzinfo=UTC)
HEADER = ",".join(COLUMNS)
GOOD = 'a1,j1,t1,e1,rest,success,2024-10-30T00:32:04+00:00,800,,"{""code"":200}",0,acme'
LATER = "a2,j2,,,mcp,failed,2024-10-30T02:02:04.5+01:00,,no answer,,,"


def _file(folder: Path, *lines: str, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def test_the_last_row_is_shifted_to_now(tmp_path: Path) -> None:
    """Every time moves by the same amount, offsets are honoured, and the latest time becomes now."""
    log = read_log(_file(tmp_path, LATER, GOOD))
    later, good = log.actions(NOW)
    assert later.executed_at == NOW
    assert good.executed_at == NOW - timedelta(minutes=30, seconds=0.5)
    assert log.rows == 2


def test_empty_fields_are_null(tmp_path: Path) -> None:
    """An empty trigger, duration, error or response is NULL; an empty retry_count is 0."""
    (action,) = read_log(_file(tmp_path, LATER)).actions(NOW)
    assert (action.trigger_id, action.event_id, action.duration_ms, action.response_data) == (None,) * 4
    assert action.retry_count == 0
    assert action.error_message == "no answer"


def test_the_organization_belongs_to_the_trigger(tmp_path: Path) -> None:
    """Each trigger is known once with the last organization named for it; rows without a trigger name none."""
    moved = GOOD.replace("a1", "a3").replace("acme", "umbrella")
    unknown = GOOD.replace("a1", "a4").replace("acme", "")
    assert read_log(_file(tmp_path, GOOD, moved, unknown, LATER)).organizations == {"t1": "umbrella"}


def test_columns_may_stand_in_any_order_among_others(tmp_path: Path) -> None:
    """The header decides which column is which; unknown columns are left out; a byte order mark is no harm."""
    path = tmp_path / "log.csv"
    names = [*reversed(COLUMNS), "region"]
    values = dict(zip(COLUMNS, ["a1", "j1", "t1", "", "rest", "failed", "", "", "", "", "2", "acme"], strict=True))
    row = ",".join(values.get(name, "eu") for name in names)
    path.write_text("\ufeff" + ",".join(names) + "\r\n" + row + "\r\n")
    (action,) = read_log(path).actions(NOW)
    assert (action.id, action.retry_count, action.executed_at) == ("a1", 2, None)


def test_a_time_without_an_offset_is_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare time is taken as UTC, wherever the machine stands."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    log = read_log(_file(tmp_path, GOOD.replace("+00:00", "")))
    assert log.last_executed_at == datetime(2024, 10, 30, 0, 32, 4, tzinfo=UTC)
    monkeypatch.undo()
    time.tzset()


def test_gzip_is_told_by_content(tmp_path: Path) -> None:
    """A gzipped file is read whatever its name."""
    path = tmp_path / "log.csv"
    path.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode()))
    assert read_log(path).rows == 1


def test_lines_are_counted_through_quoted_line_breaks(tmp_path: Path) -> None:
    """The line named is the one where the record begins in the file."""
    two_lines = 'a1,j1,t1,e1,rest,failed,,,"first\nsecond",,0,acme'
    with pytest.raises(DemoError, match=r"line 4: status 'sucess' is unknown"):
        read_log(_file(tmp_path, two_lines, GOOD.replace("a1", "a9").replace("success", "sucess")))


def test_lines_are_counted_from_a_header_of_two(tmp_path: Path) -> None:
    """A line break in a column's name counts too."""
    path = tmp_path / "log.csv"
    path.write_text(f'{HEADER},"note\nof ours"\n{GOOD},\n{GOOD},\n')
    with pytest.raises(DemoError, match="line 4: id 'a1' was used in line 3 already"):
        read_log(path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (GOOD.replace("success", "done"), "line 3: status 'done' is unknown; it must be one of success, failed"),
        (GOOD.replace("2024-10-30T", "30.10.2024 "), "line 3: executed_at '30.10.2024 00:32:04+00:00' is not a time"),
        (GOOD.replace("800", "0.8"), "line 3: duration_ms '0.8' is not a whole number"),
        (GOOD.replace("800", "-1"), "line 3: duration_ms '-1' is not a whole number"),
        (GOOD.replace("800", "3000000000"), "line 3: duration_ms '3000000000' is not a whole number"),
        (GOOD.replace(",0,acme", ",x,acme"), "line 3: retry_count 'x' is not"),
        (GOOD.replace('""code"":200', "code:200"), "line 3: response_data '{code:200}' is not JSON"),
        (GOOD.replace("200}", "NaN}"), "line 3: response_data '{\"code\":NaN}' is not JSON"),
        (GOOD.replace("200}", '""\\u0000""}'), "line 3: response_data"),
        (GOOD.replace("200}", '""\\ud800""}'), "line 3: response_data"),
        (GOOD.replace("a1", ""), "line 3: id is empty"),
        (GOOD.replace("rest", ""), "line 3: action_type is empty"),
        (GOOD.replace("j1", "j\x001"), "line 3: job_id holds a NUL"),
        (GOOD + ",more", "line 3: 13 fields where the header has 12"),
        ("a1,j1", "line 3: 2 fields where the header has 12"),
        (GOOD.replace('"{', '"{"x'), "line 3: "),
        (LATER, "line 3: id 'a2' was used in line 2 already"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    """The message is one line with the file, the line and what is wrong."""
    path = _file(tmp_path, LATER, line)
    with pytest.raises(DemoError) as caught:
        read_log(path)
    assert str(caught.value).startswith(f"{path}, {problem}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (HEADER.replace("status,", ""), "line 1: column status is missing"),
        ("a;b;c", "line 1: columns id, job_id, "),
        (HEADER + ",status", "line 1: column status occurs twice"),
        ("", "line 1: the file is empty"),
    ],
)
def test_a_bad_header_is_named(tmp_path: Path, header: str, problem: str) -> None:
    """A missing or doubled column is reported for line 1."""
    path = tmp_path / "log.csv"
    path.write_text(f"{header}\n{GOOD}\n" if header else "")
    with pytest.raises(DemoError) as caught:
        read_log(path)
    assert str(caught.value).startswith(f"{path}, {problem}")


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    """A file cut in transfer says so, with the line where it ends."""
    rows = [GOOD.replace("a1", f"id{number * 7919 % 10007}-{number}") for number in range(3000)]
    path = tmp_path / "log.csv.gz"
    whole = gzip.compress("\n".join([HEADER, *rows]).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DemoError, match=r"log\.csv\.gz, line \d{3,4}: the gzip file is cut short"):
        read_log(path)


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    """Bytes changed within the file are no traceback."""
    whole = bytearray(gzip.compress(f"{HEADER}\n{GOOD}\n".encode()))
    whole[-6] ^= 0xFF
    path = tmp_path / "log.csv.gz"
    path.write_bytes(whole)
    with pytest.raises(DemoError, match="the gzip file is damaged"):
        read_log(path)


def test_other_files_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    """A missing file, a folder, text in another encoding, and a header without rows."""
    with pytest.raises(UsageError, match=r"none\.csv cannot be read: No such file or directory"):
        read_log(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="Is a directory"):
        read_log(tmp_path)
    latin = tmp_path / "latin.csv"
    latin.write_bytes(f"{HEADER}\n{LATER.replace('no answer', 'très lent')}\n".encode("latin-1"))
    with pytest.raises(DemoError, match="near line 1: the text is not UTF-8"):
        read_log(latin)
    with pytest.raises(DemoError, match="no action in this file"):
        read_log(_file(tmp_path))


def test_long_messages_are_read(tmp_path: Path) -> None:
    """An error message of a megabyte is no obstacle."""
    (action,) = read_log(_file(tmp_path, LATER.replace("no answer", "x" * 1_000_000))).actions(NOW)
    assert len(action.error_message or "") == 1_000_000


def test_a_time_that_cannot_be_shifted_is_named(tmp_path: Path) -> None:
    """A time near the calendar's beginning leaves it when the log is shifted backwards."""
    ancient = LATER.replace("2024-10-30T02:02:04.5+01:00", "0001-01-02T00:00:00Z")
    log = read_log(_file(tmp_path, GOOD.replace("2024", "9000"), ancient))
    with pytest.raises(DemoError, match="line 3: executed_at is too far"):
        list(log.actions(NOW))
