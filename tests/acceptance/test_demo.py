"""`demo` from the outside: one command that shows everything and leaves nothing."""

import gzip
import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from analytics_refreshd.cli.demo import TerminalOutput
from analytics_refreshd.demo import DemoError
from analytics_refreshd.demo.csvlog import COLUMNS
from analytics_refreshd.demo.options import Options
from analytics_refreshd.demo.session import run
from tests.support import warm
from tests.support.clickhouse import needs_chdb
from tests.support.demo import COMMAND, RunningDemo
from tests.support.waiting import eventually

GOOD = 'a1,j1,t1,e1,rest,success,2024-10-30T00:32:04+00:00,800,,"{""code"":200}",0,acme'

WITH_A_PERSON = ["broken", "detected", "told", "fixed", "healed"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """The temporary folder of the demos of one test: short for the sockets, open for the server's user."""
    with tempfile.TemporaryDirectory(prefix="demo-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def demo(folder: Path) -> Iterator[Callable[..., RunningDemo]]:
    """`demo(*options)` starts one; whatever still runs at the end is stopped.

    Demos of other tests begin at the same time, so it takes any free ports unless `usual_ports`.
    """
    running: list[RunningDemo] = []

    def begin(*options: str, environment: dict[str, str] | None = None, usual_ports: bool = False) -> RunningDemo:
        given = [] if usual_ports or "--chaos" in options else ["--port", "0", "--api-port", "0"]
        running.append(RunningDemo(folder, *given, *options, environment=environment))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def _servers_below(folder: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or []) and process.name() == "postgres"
    ]


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content


def _page(one: RunningDemo, label: str) -> bytes:
    return _read(one.shown(label))


def _fails(folder: Path, *options: str) -> tuple[int, str]:
    done = warm.run(["demo", *options], os.environ | {"TMPDIR": str(folder)})
    assert "Traceback" not in done.stderr
    assert list(folder.glob("analytics-refreshd-*")) == []
    return done.returncode, done.stderr


def test_it_ends_by_itself_after_the_cycles_asked_for(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """Three cycles, each ok with all four views; exit 0; neither a process nor a file is left.

    Piped, the loading is one plain line without control characters.
    """
    one = demo("--cycles", "3", "--interval", "2s", "--rows", "3000")
    assert one.wait() == 0, "".join(one.errors)
    finished = one.events("refresh.finished")
    assert [line["outcome"] for line in finished] == ["ok"] * 3
    assert {len(line["views"]) for line in finished} == {4}
    (stopping,) = one.events("daemon.stopping")
    assert (stopping["signal"], stopping["reason"]) == (None, "the cycles asked for are done")
    assert "\x1b" not in "".join(one.output + one.errors)
    assert any(line.startswith("Loaded 3,000 actions of the last 30 days") for line in one.errors)
    assert list(folder.iterdir()) == []
    assert _servers_below(folder) == []


@pytest.mark.fault
def test_L27_it_says_where_to_look_and_that_is_true(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """Page and metrics answer, every command works as printed, live actions keep coming, Ctrl-C removes all."""
    one = demo("--interval", "1s", "--rows", "2000")
    for label, content in (("page", b"<html"), ("metrics", b"analytics_view_age_minutes")):
        assert content in eventually(partial(_page, one, label))
    count = f'{one.shown("psql")} -Atc "select count(*) from action_results"'

    def rows() -> int:
        return int(subprocess.run(["sh", "-c", count], check=True, capture_output=True, text=True).stdout)

    # each look starts a psql
    eventually(lambda: rows() > 2002, every=0.25)
    with psycopg.connect(one.dsn(), autocommit=True) as connection:
        total = "select sum(execution_count) from action_metrics_hourly"
        eventually(lambda: (connection.execute(total).fetchone() or (0,))[0] > 2002)
    for label, expected in (("status", "action_metrics_hourly"), ("query", "success_rate_percent")):
        done = subprocess.run(["sh", "-c", one.shown(label)], capture_output=True, text=True, check=False)
        # on a busy machine the views may be older than the two seconds that this interval allows
        assert done.returncode in ((0, 1) if label == "status" else (0,)), done.stderr
        assert expected in done.stdout
    assert one.stop() == 0
    assert list(folder.iterdir()) == []
    assert _servers_below(folder) == []


def test_the_api_runs_beside_it(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """What is printed answers: the page, and the question with its key. It ends with the demo, even a killed one."""
    one = demo("--interval", "1s", "--rows", "2000")
    with psycopg.connect(one.dsn()) as connection:
        made = connection.execute("select count(*) from analytics_refresh.api_keys").fetchone()
        assert made == (1,), "a way into the database is shown before everything there is made"
    assert b"<title>Analytics</title>" in eventually(partial(_page, one, "api"))
    eventually(partial(_asked, one), within=60.0)
    answer = json.loads(_asked(one))
    assert answer["data"]["total_executions"] > 0
    assert one.shown("key").startswith("rfd_")
    port = int(one.shown("api").split(":")[2].partition("/")[0])
    sent = {"X-API-Key": one.shown("key"), "Content-Type": "application/json"}
    action = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/resume", b"{}", sent)
    with urllib.request.urlopen(action, timeout=30) as taken:
        assert taken.status == 202
    one.process.kill()
    one.wait()
    eventually(lambda: not _listens(port), within=60.0)
    again = demo("--interval", "1s", "--rows", "200", "--cycles", "1")
    assert again.wait() == 0
    assert list(folder.iterdir()) == []


@needs_chdb
def test_a_warehouse_runs_beside_it(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """What is printed answers from ClickHouse as pasted; page and metrics tell its lag; Ctrl-C removes all."""
    one = demo("--interval", "1s", "--rows", "2000", "--warehouse")
    asked = one.shown("warehouse", within=200.0)
    done = subprocess.run(["sh", "-c", f"{asked} --format json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["engine"] == "warehouse"
    assert sum(row["executions"] for row in answer["rows"]) > 0
    eventually(lambda: b"<dt>Warehouse</dt>" in _page(one, "page"))
    lag = re.compile(rb"^analytics_warehouse_lag_seconds\{.*\} [0-9.]+$", re.MULTILINE)
    eventually(lambda: lag.search(_page(one, "metrics")))
    # live actions come there too
    batch = "select acknowledged_batch from analytics_refresh.outbox_sender"
    with psycopg.connect(one.dsn(), autocommit=True) as connection:
        eventually(lambda: (connection.execute(batch).fetchone() or (0,))[0] >= 2)
    assert one.stop() == 0
    assert "Traceback" not in "".join(one.errors)
    assert list(folder.iterdir()) == []
    assert _servers_below(folder) == []
    assert not _processes_of(folder)


@needs_chdb
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.nightly)])
def test_a_signal_while_its_warehouse_is_filled_leaves_nothing(
    demo: Callable[..., RunningDemo], folder: Path, number: signal.Signals
) -> None:
    """Neither ClickHouse nor its data; what a killed demo left, the next one removes."""
    one = demo("--rows", "20000", "--warehouse")
    eventually(lambda: [line for line in list(one.errors) if line.startswith("Bringing the figures")], within=120.0)
    assert _processes_of(folder)
    one.stop(number)
    assert "Traceback" not in "".join(one.errors)
    eventually(lambda: not _processes_of(folder))
    if number == signal.SIGKILL:
        again = demo("--rows", "200", "--cycles", "1", "--interval", "1s")
        assert again.wait() == 0
    assert list(folder.iterdir()) == []


@needs_chdb
@pytest.mark.nightly
def test_kept_data_fill_a_new_warehouse(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """With --data the database stays and ClickHouse does not: the next demo exports all of it again."""
    for number in range(2):
        one = demo("--data", str(folder / "kept"), "--warehouse", *(["--rows", "700"] if not number else []))
        done = subprocess.run(
            ["sh", "-c", f"{one.shown('warehouse', within=200.0)} --format json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert sum(row["executions"] for row in json.loads(done.stdout)["rows"]) > 0
        assert one.stop() == 0


def _processes_of(folder: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if f"{folder}/" in " ".join(process.info["cmdline"] or []) and "clickhouse" in " ".join(process.info["cmdline"])
    ]


def test_without_clickhouse_it_says_how_to_get_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the command, before anything is started; the extra that it names is the project's."""
    monkeypatch.setattr("analytics_refreshd.demo.warehouse.installed", lambda: False)
    with pytest.raises(DemoError) as refused:
        run(Options(warehouse=True), TerminalOutput())
    words = shlex.split(str(refused.value).partition("run ")[2].partition(" (")[0])
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    name, extra = words[4].removesuffix("]").split("[")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert name == project["name"]
    assert any(each.startswith("chdb") for each in project["optional-dependencies"][extra])
    assert "560 MB" in str(refused.value)
    assert list(folder.iterdir()) == []


def _asked(one: RunningDemo) -> bytes:
    words = shlex.split(one.shown("curl"))
    assert words[:2] == ["curl", "-H"]
    name, _, value = words[2].partition(": ")
    with urllib.request.urlopen(urllib.request.Request(words[3], headers={name: value}), timeout=10) as answer:
        content: bytes = answer.read()
    return content


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def taken_ports() -> Iterator[None]:
    """Somebody listens on 5432 and 9720."""
    with ExitStack() as stack:
        for port in (5432, 9720):
            listener = stack.enter_context(socket.socket())
            # else it is taken by somebody else, which serves as well
            with suppress(OSError):
                listener.bind(("127.0.0.1", port))
                listener.listen()
        yield


@pytest.mark.fault
def test_L27_a_second_terminal_finds_the_demo(
    demo: Callable[..., RunningDemo], folder: Path, taken_ports: None
) -> None:
    """`status` alone is of the demo that runs, and says so; of two it asks which; `migrate` never is.

    The two serve two pages and two databases, whoever listens on 5432 and 9720.
    """

    # a demo that this user runs in /tmp meanwhile is not of this test
    only_here = "from analytics_refreshd.demo import folder\nfolder._SHARED = folder.Path(folder.tempfile.gettempdir())"

    def type_in(*words: str) -> "subprocess.CompletedProcess[str]":
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "ANALYTICS_"))}
        return warm.run(words, clean | {"TMPDIR": str(folder)}, first=only_here)

    first = demo("--rows", "500", usual_ports=True)
    first.shown("page")
    found = type_in("status", "--format", "json")
    assert found.returncode in (0, 1), found.stderr
    assert '"action_metrics_hourly"' in found.stdout
    assert "so this is the demo in " + str(folder) in found.stderr
    refused = type_in("migrate", "--status")
    assert refused.returncode == 78
    assert "database.url is missing" in refused.stderr
    second = demo("--rows", "500", usual_ports=True)
    assert first.shown("page") != second.shown("page")
    both = type_in("status")
    assert both.returncode == 64
    assert both.stderr.count(f"--config {folder}/analytics-refreshd-demo-") == 2
    assert first.dsn() != second.dsn()
    for one in (first, second):
        with psycopg.connect(one.dsn()) as connection:
            assert connection.execute("select count(*) >= 500 from action_results").fetchone() == (True,)
        assert eventually(partial(_page, one, "metrics"))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    "moment",
    # Ctrl-C at one that serves also ends the test of where to look
    ["making", "starting", "loading", "building", pytest.param("serving", marks=pytest.mark.nightly)],
)
def test_a_signal_at_any_moment_leaves_nothing(
    demo: Callable[..., RunningDemo], folder: Path, number: signal.Signals, moment: str
) -> None:
    """While the server is made, started, filled or served: exit 0, no process, no file, no traceback."""
    # so many that a signal finds it loading them, or building their views
    one = demo("--rows", "20000" if moment in ("loading", "building") else "1000")
    came: dict[str, Callable[[], object]] = {
        "making": lambda: list(folder.glob("analytics-refreshd-demo-*/owner.lock")),
        "starting": lambda: list(folder.glob("analytics-refreshd-demo-*/server/data/postgresql.auto.conf")),
        "loading": lambda: list(folder.glob("analytics-refreshd-demo-*/server/.s.PGSQL.5432")),
        "building": lambda: [line for line in one.errors if line.startswith("Loaded")],
        "serving": lambda: one.events("daemon.started"),
    }
    eventually(came[moment], within=60.0, every=0.005)
    assert one.stop(number) == 0, "".join(one.errors)
    assert "Traceback" not in "".join(one.errors)
    assert list(folder.iterdir()) == []
    assert _servers_below(folder) == []


@pytest.mark.nightly
def test_a_killed_demo_is_swept_up_by_the_next(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """After kill -9 the next demo removes the orphaned server and its folder, and works."""
    first = demo("--rows", "1000")
    first.shown("page")
    first.stop(signal.SIGKILL)
    assert _servers_below(folder)
    second = demo("--rows", "1000", "--cycles", "1", "--interval", "1s")
    assert second.wait() == 0, "".join(second.errors)
    assert any(line.startswith("Removed what a killed demo had left") for line in second.errors)
    assert list(folder.iterdir()) == []
    assert _servers_below(folder) == []


def test_it_ends_with_its_server(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """Without its PostgreSQL a demo says so, ends with another code than success, and leaves nothing."""
    one = demo("--interval", "1s", "--rows", "2000")
    eventually(lambda: one.events("refresh.finished"))
    (data,) = folder.glob("analytics-refreshd-*/server/data")
    os.kill(int((data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
    assert one.wait() == 1
    assert any("PostgreSQL has ended and will not come back" in line for line in one.errors)
    assert one.errors[-1] == "Stopped; nothing is left.\n"
    assert list(folder.iterdir()) == []
    assert _servers_below(folder) == []


def test_the_surroundings_do_not_lead_it_elsewhere(demo: Callable[..., RunningDemo]) -> None:
    """A shell that is set up for another database changes nothing."""
    surroundings = {
        "PGHOSTADDR": "192.0.2.1",
        "PGHOST": "db.example",
        "PGPORT": "6543",
        "PGUSER": "somebody",
        "PGDATABASE": "elsewhere",
        "PGSSLMODE": "verify-full",
        "ANALYTICS_REFRESHD_DATABASE__URL": "postgresql://somebody@192.0.2.1/elsewhere",
        "ANALYTICS_REFRESHD_REFRESH__FUNCTION": "other",
        "ANALYTICS_REFRESHD_CONFIG": "/nonexistent.toml",
    }
    one = demo("--rows", "500", "--cycles", "1", "--interval", "1s", environment=surroundings)
    assert one.wait() == 0, "".join(one.errors)
    # on a busy machine a second refresh may begin before the stop, which cancels it
    assert next(line["outcome"] for line in one.events("refresh.finished")) == "ok"


@pytest.mark.nightly
def test_chaos_breaks_it_and_shows_what_came_of_it(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """Each break is detected, told where a person must act, and healed; the exit code is the score's; nothing is left.

    On a busy machine a step may come after its 20 seconds; the score says so.
    """
    one = demo("--chaos", "--minutes", "1", "--seed", "3", "--rows", "2000", "--port", "0")
    code = one.wait(280.0)
    lines = [line.split() for line in one.output if re.match(r"\d\d:\d\d:\d\d ", line)]
    steps = {number: [line[2] for line in lines if line[1] == number] for number in {line[1] for line in lines}}
    assert 1 <= len(steps) <= 3, "".join(one.output)
    for number, found in steps.items():
        is_kill = any("killed:" in line for line in lines if line[1] == number)
        wanted = ["broken", "detected", "healed", "fixed"] if is_kill else WITH_A_PERSON
        assert sorted(found) == sorted(wanted), "".join(one.output)
    (scored,) = [line for line in one.output if line.startswith("Score: ")]
    _, in_time, _, due, *_ = scored.split()
    assert code == (0 if in_time == due else 1), scored
    assert list(folder.iterdir()) == []
    assert _servers_below(folder) == []


@pytest.mark.nightly
def test_chaos_that_is_interrupted_leaves_nothing(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """Ctrl-C in the middle of a break: the server, both daemons, their logs, and the folder go."""
    one = demo("--chaos", "--rows", "2000", "--port", "0")
    port = int(one.shown("page").split(":")[2].rstrip("/"))
    eventually(lambda: [line for line in list(one.output) if "  broken  " in line], within=120.0)
    assert one.stop() == 0, "".join(one.errors)
    assert "Traceback" not in "".join(one.errors)
    assert one.errors[-1] == "Stopped; nothing is left.\n"
    assert not _listens(port)
    assert list(folder.iterdir()) == []
    assert _servers_below(folder) == []


@pytest.mark.nightly
def test_kept_data_are_gone_on_with(demo: Callable[..., RunningDemo], folder: Path) -> None:
    """With --data the second start finds the actions of the first, and a new size is refused."""
    data = folder / "kept"
    for number in range(2):
        one = demo("--data", str(data), "--cycles", "1", "--interval", "1s", *(["--rows", "700"] if not number else []))
        assert one.wait() == 0, "".join(one.errors)
        assert [path.name for path in folder.iterdir()] == ["kept"]
    assert any("actions kept in" in line for line in one.errors)
    code, said = _fails(folder, "--data", str(data), "--rows", "10")
    assert code == 1
    assert "already holds a demo: leave out --rows" in said


def test_on_a_terminal_a_bar_is_drawn(folder: Path) -> None:
    """On a terminal the loading is drawn as a progress bar."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--rows", "6000", "--cycles", "1", "--interval", "1s", "--port", "0", "--api-port", "0"],
        env=os.environ | {"TMPDIR": str(folder), "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # what Linux gives at the end of a terminal
            break
        drawn += piece
    os.close(ours)
    assert process.wait(60) == 0, drawn
    assert b"Loading actions" in drawn
    assert b"6000" in drawn


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (",".join(COLUMNS).replace("status,", "") + "\n" + GOOD, "line 1: column status is missing"),
        (",".join(COLUMNS) + "\n" + GOOD.replace("2024-10-30T", "yesterday "), "line 2: executed_at 'yesterday"),
        (",".join(COLUMNS) + "\n" + GOOD.replace("success", "up"), "line 2: status 'up' is unknown"),
    ],
)
def test_a_bad_log_is_refused_before_anything_starts(folder: Path, content: str, problem: str) -> None:
    """One sentence with the line, exit 1, and no server was started for it."""
    path = folder / "log.csv"
    path.write_text(content + "\n")
    code, said = _fails(folder, "--input", str(path))
    assert code == 1
    assert said == f"analytics-refreshd: {path}, {problem}" + said.partition(problem)[2]
    assert len(said.splitlines()) == 1


@pytest.mark.quick
def test_a_truncated_log_is_refused(folder: Path) -> None:
    """A gzip file that ends too early is named with the line it got to."""
    rows = [GOOD.replace("a1", f"a{number}") for number in range(500)]
    whole = gzip.compress("\n".join([",".join(COLUMNS), *rows]).encode())
    path = folder / "log.csv.gz"
    path.write_bytes(whole[:-200])
    code, said = _fails(folder, "--input", str(path))
    assert code == 1
    assert "the gzip file is cut short" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (("--interval", "10"), 64, "is not a duration"),
        (("--rows", "0"), 64, "--rows"),
        (("--rows", "5", "--input", "log.csv"), 64, "--rows and --input exclude each other"),
        (("--chaos", "--warehouse"), 64, "--chaos and --warehouse exclude each other"),
        (("--input", "/nonexistent/log.csv"), 64, "/nonexistent/log.csv cannot be read: No such file"),
        (("--data", "/proc/version"), 1, "Cannot use /proc/version for the demo's data"),
    ],
)
def test_wrong_usage_is_one_sentence(folder: Path, options: tuple[str, ...], code: int, problem: str) -> None:
    """The exit code tells wrong usage from what cannot be done."""
    exited, said = _fails(folder, *options)
    assert exited == code
    assert problem in said


def test_a_taken_port_is_named(folder: Path) -> None:
    """A port that was asked for is not exchanged for another in silence."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        code, said = _fails(folder, "--port", str(port))
    assert code == 1
    assert f"Port {port} on 127.0.0.1 is taken" in said
