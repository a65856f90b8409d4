"""What log tools and log stores make of the daemon's lines, undone."""

import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analytics_refreshd.incident.lines import lines_of
from analytics_refreshd.incident.parse import LINE_BYTES, Tally, entries_of
from analytics_refreshd.incident.review import Review, review
from tests.support.log_lines import at, fold, line, lock_incident, run, text

pytestmark = pytest.mark.fault

LINES = text(lock_incident()).splitlines()
STAMP = "2026-03-01T12:00:00.123456789Z"


def _parts(item: str, size: int = 300) -> Iterator[str]:
    for begin in range(0, len(item), size):
        yield item[begin : begin + size]


def cri() -> bytes:
    """A container's file of CRI's form, each line split every 300 bytes, another stream's lines in between."""
    rows = []
    for item in LINES:
        *first, last = _parts(item)
        rows += [f"{STAMP} stderr P {part}\n{STAMP} stdout F something else" for part in first]
        rows.append(f"{STAMP} stderr F {last}")
    return "\n".join([*rows, ""]).encode()


def docker() -> bytes:
    """The same as Docker's json-file driver writes it."""
    rows = []
    for item in LINES:
        for part in _parts(item + "\n"):
            rows.append(json.dumps({"log": part, "stream": "stderr", "time": STAMP}, separators=(",", ":")))
    return "\n".join([*rows, ""]).encode()


def journal(indent: int | None) -> bytes:
    """`journalctl -o json --all`, or `-o json-pretty`."""
    return b"".join(json.dumps({"MESSAGE": item, "PRIORITY": "6"}, indent=indent).encode() + b"\n" for item in LINES)


def loki(indent: int | None = None) -> bytes:
    """An answer of Loki's API."""
    streams = [{"stream": {"app": "x"}, "values": [[str(number), item] for number, item in enumerate(LINES)]}]
    return json.dumps(
        {"status": "success", "data": {"resultType": "streams", "result": streams}}, indent=indent
    ).encode()


def logcli() -> bytes:
    """`logcli query -o jsonl`, and without an option."""
    rows = [json.dumps({"labels": {"app": "x"}, "line": item, "timestamp": STAMP}) for item in LINES[::2]]
    rows += [f'{STAMP} {{app="x", pod="y"}} {item}' for item in LINES[1::2]]
    return "\n".join(rows).encode()


def google(as_text: bool) -> bytes:
    """`gcloud logging read --format=json`: our fields without the timestamp, which is the entry's; or text."""
    entries = []
    for item in LINES:
        fields = json.loads(item)
        stamp = fields.pop("timestamp")
        payload: dict[str, Any] = {"textPayload": item} if as_text else {"jsonPayload": fields}
        entries.append({"insertId": "1", **payload, "resource": {"type": "k8s"}, "timestamp": stamp})
    return json.dumps(entries, indent=2).encode()


def elastic() -> bytes:
    """A search's answer, and what Filebeat writes."""
    hits = [{"_source": {"@timestamp": STAMP, "message": item}} for item in LINES]
    return json.dumps({"hits": {"total": {"value": 3}, "hits": hits}}).encode()


def filebeat() -> bytes:
    """Objects that Filebeat has decoded."""
    return "\n".join(json.dumps({"@timestamp": STAMP, "json": json.loads(item)}) for item in LINES).encode()


WRAPPERS: dict[str, Callable[[], bytes]] = {
    "CRI parts": cri,
    "Docker parts": docker,
    "journald": lambda: journal(None),
    "json-pretty": lambda: journal(8),
    "jq": lambda: "\n".join(json.dumps(json.loads(item), indent=2) for item in LINES).encode(),
    "Loki": loki,
    "Loki pretty": lambda: loki(2),
    "logcli": logcli,
    "Google Cloud objects": lambda: google(as_text=False),
    "Google Cloud text": lambda: google(as_text=True),
    "Elasticsearch": elastic,
    "Filebeat": filebeat,
    "CloudWatch": lambda: json.dumps({"events": [{"timestamp": 1, "message": item} for item in LINES]}).encode(),
    "Splunk": lambda: "\n".join(json.dumps({"result": {"_raw": item}}) for item in LINES).encode(),
    "UTF-16": lambda: "\r\n".join(LINES).encode("utf-16"),
    "UTF-16 without a mark": lambda: "\n".join(LINES).encode("utf-16-le"),
    "UTF-16 in gzip": lambda: gzip.compress("\n".join(LINES).encode("utf-16")),
    "UTF-8 with a mark": lambda: "\n".join(LINES).encode("utf-8-sig"),
    "pretty with a mark": lambda: json.dumps(json.loads(loki()), indent=1).encode("utf-8-sig"),
}


def reviewed(data: bytes, tmp_path: Path) -> Review:
    """The review of a log with these bytes."""
    path = tmp_path / "log"
    path.write_bytes(data)
    return review([str(path)])


@pytest.mark.parametrize("form", WRAPPERS)
def test_L22_a_log_tool_s_wrapping_is_undone(form: str, tmp_path: Path) -> None:
    """Whatever it was exported by, the review is that of the bare lines, and nothing counts as cut."""
    expected, got = reviewed("\n".join(LINES).encode(), tmp_path), reviewed(WRAPPERS[form](), tmp_path)
    assert (got.databases, got.events, got.cut_lines) == (expected.databases, len(LINES), 0)
    assert len(got.incidents) == 1
    assert got.missing == expected.missing


def test_L22_an_answer_longer_than_a_piece_is_read_whole(tmp_path: Path) -> None:
    """A log store prints everything on one line. What is cut off of it costs only the line that is cut."""
    rows = [str(item) for number in range(1, 2000) for item in [text([run(number)]).strip()]]
    answer = json.dumps({"data": [["1", item] for item in rows]}).encode()
    assert len(answer) > LINE_BYTES
    got = reviewed(answer, tmp_path)
    assert (got.events, got.cut_lines) == (len(rows), 0)
    cut = reviewed(answer[:-700], tmp_path)
    assert cut.events == len(rows) - 1
    assert cut.cut_lines == 1


@pytest.mark.quick
def test_L22_what_journald_left_out_is_said_with_the_remedy(tmp_path: Path) -> None:
    """`journalctl -o json` writes null for a line over 4 KiB: the review counts them and names --all."""
    rows = [json.dumps({"MESSAGE": None if len(item) > 600 else item}) for item in LINES]
    lost = sum(len(item) > 600 for item in LINES)
    assert lost
    got = reviewed("\n".join(rows).encode(), tmp_path)
    assert got.cut_lines == 0
    assert [item for item in got.missing if f"{lost} lines that `journalctl -o json` left out" in item]
    assert any("--all" in item for item in got.missing)


@pytest.mark.quick
def test_L22_a_failed_view_alone_begins_an_incident() -> None:
    """Where the run's own line is lost, view.failed tells of the run, and the next good run ends the incident."""
    failed = line(5.1, "view.failed", level="warning", run_id="r", view="recent_failures", reason="data",
                  sqlstate="22003", error="numeric field overflow")  # fmt: skip
    log = fold([run(0), failed, run(10), run(15)])
    [incident] = log.incidents
    assert (incident.started_at, incident.ended_at) == (at(5.1), at(10.1))
    assert incident.views == ("recent_failures",)
    assert incident.first_sqlstate is not None
    assert incident.first_sqlstate.sqlstate == "22003"
    assert "the refresh.finished of 1 runs that failed: only their view.failed is there" in log.missing


def test_L22_with_the_run_s_own_line_nothing_changes() -> None:
    """The incident begins with the run, which then counts, and nothing is missing."""
    bad = run(5, "partial", success=(True, True, False, True), view_reason="data", sqlstate="22003", error="overflow")
    failed = line(5.1, "view.failed", level="warning", run_id=bad["run_id"], view="recent_failures", reason="data",
                  sqlstate="22003", error="overflow")  # fmt: skip
    log = fold([run(0), failed, bad, run(10)])
    [incident] = log.incidents
    assert (incident.started_at, incident.began_with) == (at(5), "refresh.finished partial")
    assert incident.runs["partial"] == 1
    assert not [item for item in log.missing if "refresh.finished" in item]


def test_L22_parts_without_an_end_are_kept_apart() -> None:
    """A log that ends, or begins, within a line costs that line only."""
    item = max(LINES, key=len)
    rows = [f"{STAMP} stderr F {item[300:]}", f"{STAMP} stderr F {item}", f"{STAMP} stderr P {item[:300]}", ""]
    tally = Tally()
    given = io.BufferedReader(io.BytesIO("\n".join(rows).encode()))
    found = [entry for read in lines_of(given, tally) for entry in entries_of(read, tally)]
    assert (len(found), tally.cut) == (1, 2)
