"""Logs as files, as journald and Kubernetes print them, in any order, cut anywhere: always the same review."""

import gzip
import io
import json
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_refreshd.core.errors import RefreshdError, UsageError
from analytics_refreshd.core.events import Event
from analytics_refreshd.incident import review as incidents
from analytics_refreshd.incident.lines import lines_of
from analytics_refreshd.incident.parse import Tally, entries_of
from analytics_refreshd.incident.review import Review, review
from analytics_refreshd.incident.sort import Sorter
from tests.support.examples import examples
from tests.support.log_lines import at, line, lock_incident, run, text

Lines = list[str]


def two_replicas() -> list[dict[str, Any]]:
    """An incident told by two replicas, and a second database with one of its own."""
    moved = [
        item | {"replica": "r2"} if item["event"].startswith(("view", "alert")) else item for item in lock_incident()
    ]
    other = [run(0, database="crm", number=1), run(5, "failed", database="crm", number=2, reason="undefined",
             sqlstate="42883", error="function does not exist"), run(10, database="crm", number=3)]  # fmt: skip
    return sorted([*moved, *other], key=lambda item: str(item["timestamp"]))


def reviewed(data: bytes | str, tmp_path: Path, **options: Any) -> Review:
    """The review of a log with these bytes."""
    path = tmp_path / "log"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return review([str(path)], **options)


def found(result: Review) -> list[dict[str, Any]]:
    """What was found, without what became of the lines."""
    return [asdict(log) for log in result.databases]


def journal(message: str, *, as_bytes: bool) -> str:
    """A line of `journalctl -o json`."""
    value: Any = list(message.encode()) if as_bytes else message
    head = {"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": "1", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "analytics-refreshd"}
    return json.dumps(head | {"MESSAGE": value})


FORMS: dict[str, Callable[[int, str], str]] = {
    "plain": lambda number, item: item,
    "priority": lambda number, item: f"<6>{item}",
    "journald": lambda number, item: journal(item, as_bytes=False),
    "journald bytes": lambda number, item: journal(item, as_bytes=True),
    "journald mixed": lambda number, item: journal(item, as_bytes=number % 2 == 0),
    "journald short": lambda number, item: f"Mar 01 12:00:00 db1 analytics-refreshd[812]: {item}",
    "kubectl prefix": lambda number, item: f"[pod/refreshd-7c9f-x2x/daemon] {item}",
    "kubectl timestamps": lambda number, item: f"2026-03-01T12:00:00.123456789Z {item}",
    "kubectl both": lambda number, item: f"[pod/refreshd-7c9f-x2x/daemon] 2026-03-01T12:00:00.123456789Z {item}",
    "runtime file": lambda number, item: f"2026-03-01T12:00:00.123456789Z stderr F {item}",
    "docker": lambda number, item: json.dumps({"log": item + "\n", "stream": "stderr", "time": "2026"}),
    "other key order": lambda number, item: json.dumps(dict(reversed(json.loads(item).items()))),
    "windows": lambda number, item: item + "\r",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_review(form: str, tmp_path: Path) -> None:
    """Whatever a tool puts around the lines, the review is that of the bare lines."""
    plain = text(two_replicas()).splitlines()
    dressed = "\n".join(FORMS[form](number, item) for number, item in enumerate(plain)) + "\n"
    expected, got = reviewed("\n".join(plain), tmp_path), reviewed(dressed, tmp_path)
    assert replace(got) == expected
    assert (got.lines, got.events, got.cut_lines, got.foreign_lines) == (len(plain), len(plain), 0, 0)
    assert [item.database for item in got.incidents] == ["crm", "shop"]


def test_short_form_of_a_good_run_is_the_parsers(tmp_path: Path) -> None:
    """A good run is read without the parser; both ways give the same entry, and an odd line goes to the parser."""
    for isolation in ("view", "cycle"):
        good = text([run(5, isolation=isolation)]).encode()
        odd = good.replace(b'"level":"info",', b'"level": "info",')
        assert entries_of(good, Tally()) == entries_of(odd, Tally())
        assert ("refreshed_views" in entries_of(good, Tally())[0][3]) is (isolation == "view")
    glued, tally = text([run(0)]).encode()[:-200] + good, Tally()
    assert entries_of(glued, tally) == entries_of(good, Tally())
    assert (tally.events, tally.cut) == (1, 1)
    lost = text([run(5, lost_lines=3)]).encode()
    assert entries_of(lost, Tally())[0][3]["lost_lines"] == 3


def test_gzip_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressed logs are read, from a file and from standard input, several as one log."""
    plain = text(two_replicas())
    expected = found(reviewed(plain, tmp_path))
    assert found(reviewed(gzip.compress(plain.encode()), tmp_path)) == expected
    half = len(plain.splitlines()) // 2
    first, second = plain.splitlines(keepends=True)[:half], plain.splitlines(keepends=True)[half:]
    (tmp_path / "late.gz").write_bytes(gzip.compress("".join(second).encode()))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("".join(first).encode())))
    assert found(review([str(tmp_path / "late.gz"), "-"])) == expected


def test_damaged_gzip_is_said(tmp_path: Path) -> None:
    """A compressed file that ends early gives what it holds, and the rest is said to be missing."""
    noise = [
        line(n / 100, "refresh.finished", outcome="ok", run_id=str(random.Random(n).random())) for n in range(3000)
    ]
    packed = gzip.compress(text(noise).encode())
    result = reviewed(packed[: len(packed) // 2], tmp_path)
    assert 0 < result.events < 3000
    assert result.unreadable_files == 1
    assert "the rest of 1 compressed files that are damaged or end early" in result.missing


def test_foreign_and_cut_lines_are_counted(tmp_path: Path) -> None:
    """Lines of others, empty lines, halves of lines and lines without a newline between them lose nothing else."""
    whole = text(lock_incident()).splitlines()
    middle = len(whole[3]) // 2
    mixed = [
        "systemd[1]: Started analytics-refreshd.service.",
        "",
        '{"timestamp":"2026-03-01T12:00:00Z","level":"info","event":"user.login","service":"shop"}',
        json.dumps({"MESSAGE": "Started analytics-refreshd.service."}),
        '{"MESSAGE":null}',
        whole[3][:middle],
        whole[3][middle:],
        whole[0][:40] + whole[0],
        whole[1] + whole[2],
        *whole[3:],
        '{"timestamp":"2026-03-01T12:00:00.000Z","level":"info","event":"view.adored","database":"shop","replica":"r1"}',
        '{"timestamp":"yesterday","level":"info","event":"refresh.finished","database":"shop"}',
        '{"a":' * 100_000,
        "\x00\udcff {",
    ]
    result = reviewed("\n".join(mixed).encode("utf-8", "surrogateescape"), tmp_path)
    assert found(result) == found(reviewed("\n".join(whole), tmp_path))
    assert (result.cut_lines, result.foreign_lines, result.unknown_events) == (3, 6, 1)
    assert "3 lines that were cut" in result.missing


def test_lines_given_twice_count_once(tmp_path: Path) -> None:
    """Extracts that overlap change nothing but the count of duplicates."""
    plain = text(lock_incident())
    result = reviewed(plain + plain, tmp_path)
    assert found(result) == found(reviewed(plain, tmp_path))
    assert result.duplicate_lines == len(lock_incident())


def test_nothing_of_ours_is_said(tmp_path: Path) -> None:
    """A log of something else gives no incident and says that nothing was found."""
    result = reviewed("12:00:00.000 info refresh.finished outcome=ok\n", tmp_path)
    assert (result.incidents, result.databases) == ((), ())
    assert result.missing == (
        "everything: no line of the daemon's JSON log was found among 1 lines, neither as it was written nor within"
        ' what a log tool wraps around it ([log] format = "console" cannot be read)',
    )


def test_since_and_until_choose_incidents_whole(tmp_path: Path) -> None:
    """An incident that touches the window is told from its true start; what the log lacks of the window is said."""
    plain = text(two_replicas())
    result = reviewed(plain, tmp_path, since=at(12), until=at(60))
    assert [(item.database, item.started_at) for item in result.incidents] == [("shop", at(5))]
    assert "shop: what was after 2026-03-01 12:20:06Z, where the log ends" in result.missing
    assert reviewed(plain, tmp_path, until=at(4)).incidents == ()
    assert reviewed(plain, tmp_path, since=at(16)).incidents == ()
    early = reviewed(plain, tmp_path, since=at(-600), until=at(0))
    assert "crm: what was before 2026-03-01 12:00:06Z, where the log begins" in early.missing


def test_unreadable_file_is_a_usage_error(tmp_path: Path) -> None:
    """A file that is not there ends with a sentence that names it."""
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        review([str(tmp_path / "absent.log")])


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading tells bytes of the file's size, folding lines of all."""
    monkeypatch.setattr(incidents, "_PROGRESS_LINES", 5)
    told: list[tuple[str, int, int | None]] = []
    plain = text(lock_incident())
    reviewed(plain, tmp_path, progress=lambda *step: told.append(step))
    assert told[-1][0] == "folding"
    assert told[-1][2] == len(lock_incident())
    assert ("reading", len(plain), len(plain)) in told


@given(st.data())
@settings(deadline=None, max_examples=examples(60))
def test_any_interleaving_of_replicas_is_one_review(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """However the replicas' lines are mixed, even one replica after the other, the review is the same."""
    lines = two_replicas()
    streams: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for item in lines:
        streams.setdefault((item["database"], item["replica"]), []).append(item)
    order = data.draw(st.permutations([key for key, stream in streams.items() for _ in stream]))
    taken = {key: iter(stream) for key, stream in streams.items()}
    mixed = [next(taken[key]) for key in order]
    folder = tmp_path_factory.mktemp("mixed")
    assert reviewed(text(mixed), folder) == reviewed(text(lines), folder)


@given(st.integers(0, 3), st.data())
@settings(deadline=None, max_examples=examples(100))
def test_truncation_never_crashes(tmp_path_factory: pytest.TempPathFactory, pieces: int, data: Any) -> None:
    """A log with pieces torn out anywhere still gives a review, and hardly more lines are lost than were torn."""
    whole = text(two_replicas()).encode()
    torn = whole
    for _ in range(pieces):
        begin = data.draw(st.integers(0, len(torn)))
        torn = torn[:begin] + torn[begin + data.draw(st.integers(0, 400)) :]
    result = reviewed(torn, tmp_path_factory.mktemp("torn"))
    assert result.lines <= len(whole.splitlines())
    assert result.events >= len(torn.splitlines()) - 2 * pieces - result.foreign_lines
    if torn == whole:
        assert (result.cut_lines, result.foreign_lines) == (0, 0)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["2026-03-01T12:00:00Z", "9999-12-31T23:59:59Z", 10**400, 1e300, -1e300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    *("level", "replica", "run_id", "outcome", "reason", "sqlstate", "error", "views", "view", "scheduled_at"),
    *("started_at", "seconds", "missed_slots", "repeated", "age_seconds", "max_age_seconds", "last_success_at"),
    *("alert", "fired_at", "receiver", "failures", "blocker_pid", "waited_seconds", "lost_lines", "interval_seconds"),
    *("until", "reason_text", "created_by"),
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([event.value for event in Event]),
            st.integers(0, 5000),
            st.sampled_from(["ok", "partial", "failed", None]),
            st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6),
        ),
        max_size=25,
    )
)
@settings(deadline=None, max_examples=examples(100))
def test_no_field_can_crash_the_review(tmp_path_factory: pytest.TempPathFactory, given_lines: list[Any]) -> None:
    """Fields of any type and value, infinite, huge, nested or absent, give a review whose figures make sense."""
    lines = [line(n / 10, event) | ({"outcome": outcome} if outcome else {}) | fields
             for event, n, outcome, fields in given_lines]  # fmt: skip
    result = reviewed(text(lines), tmp_path_factory.mktemp("wild"))
    assert result.events == len(lines)
    for item in result.incidents:
        assert item.duration_seconds >= 0
        assert item.ended_at is None or item.ended_at >= item.started_at
        assert 0 <= item.paused_seconds <= item.duration_seconds
        assert all(stale.stale_seconds >= 0 for stale in item.stale)
        assert all(away.seconds >= 0 for away in item.away)


@pytest.mark.parametrize("absurd", [10**400, -(10**400), 1e300, float("inf"), float("nan"), -1, True, "9", None])
def test_absurd_numbers_are_not_figures(absurd: object, tmp_path: Path) -> None:
    """Numbers that no duration, count or age can have are as good as absent."""
    lines = [
        line(0, "daemon.started", interval_seconds=absurd, lost_lines=absurd),
        line(5, "view.stale", view="v", max_age_seconds=absurd, last_success_at="9999-12-31T23:59:59Z"),
        line(6, "view.blocked", view="v", blocker_pid=absurd, waited_seconds=absurd),
        line(7, "refresh.skipped", reason="overlap", repeated=absurd),
        line(8, "database.restored", seconds=absurd, missed_slots=absurd),
        run(10),
    ]
    (incident,) = reviewed(text(lines), tmp_path).incidents
    assert incident.ended_at == at(10.1)
    assert 0 <= incident.duration_seconds <= 606


def test_sorter_gives_every_line_in_order() -> None:
    """Every line comes back once, by time, database, replica and arrival, with the fields it had."""
    chance = random.Random(1)
    names = ["a", "b", "\ud800", "\U0001f600", "\x00", ""]
    given_lines = [
        (chance.randrange(20) / 10, chance.choice(names), chance.choice(names), {"n": number, "x": ["\ud800", 1e300]})
        for number in range(500)
    ]
    with Sorter() as sorter:
        for item in given_lines:
            sorter.add(item)
        got = list(sorter.sorted())
        assert len(sorter) == 500
    numbered = [(at, database, replica, n, fields) for n, (at, database, replica, fields) in enumerate(given_lines)]
    assert got == sorted(numbered, key=lambda record: record[:4])


def test_sorter_takes_absurd_nesting() -> None:
    """A line nested deeper than JSON is written loses its nested fields and nothing else."""
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]
    with Sorter() as sorter:
        sorter.add((1.0, "d", "r", {"event": "x", "views": nested}))
        assert list(sorter.sorted()) == [(1.0, "d", "r", 0, {"event": "x"})]


def test_full_temporary_folder_is_said() -> None:
    """Without room to sort, the error names the folder's variable."""

    def fill(sorter: Sorter) -> None:
        for number in range(10_000):
            sorter.add((float(number), "d", "r", {"text": "x" * 1000}))

    with Sorter() as sorter:
        sorter._database.execute("PRAGMA max_page_count = 10")
        with pytest.raises(RefreshdError, match="database or disk is full; set TMPDIR to one with room"):
            fill(sorter)


_PEAK = """
import sys
from pathlib import Path
from analytics_refreshd.incident.sort import Sorter
with Sorter() as sorter:
    for number in range(int(sys.argv[1])):
        sorter.add((float(-number), "d", "r", {"text": f"{number}" + "x" * 1000}))
    assert sum(1 for _ in sorter.sorted()) == len(sorter)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
def test_sorter_keeps_little_in_memory() -> None:
    """Sixty megabytes of lines in the worst order take hardly more memory than six."""

    def peak_mib(lines: int) -> float:
        done = subprocess.run([sys.executable, "-c", _PEAK, str(lines)], check=True, capture_output=True, text=True)
        return int(done.stdout) / 1024

    assert peak_mib(60_000) < peak_mib(6_000) + 25


@pytest.mark.slow
def test_memory_does_not_follow_the_lines(tmp_path: Path) -> None:
    """Five times the lines take no more of Python's memory."""

    def peak(count: int) -> int:
        path = tmp_path / "long.log"
        with path.open("w") as file:
            for number in range(count):
                outcome = "failed" if number in (40, 80) else "ok"
                file.write(text([run(5 * number, outcome, number=number)]))
        tracemalloc.start()
        assert len(review([str(path)]).incidents) == 2
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(100)
    assert peak(15000) < 1.3 * peak(3000)


def test_long_line_is_read_in_pieces() -> None:
    """A line without an end does not take memory without end."""
    tally = Tally()
    pieces = list(lines_of(io.BufferedReader(io.BytesIO(b"x" * 2_500_000)), tally))
    assert [len(piece) for piece in pieces] == [1_000_000, 1_000_000, 500_000]
