"""Section D of the fault matrix, the process itself: signals, supervision, threads that hang, logs, forks.

D02, D06 and D18 are in test_daemon.py, D13 to D15 in test_leaders.py.
"""

import ast
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

import analytics_refreshd
from tests.support.daemon import Daemon
from tests.support.faults import FAST, SLOT, Connection, FaultServer, Terminator, our_sessions, sleeper, value
from tests.support.installs import stretch
from tests.support.machine import Supervisor
from tests.support.postgres import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault
CALM = FAST | {"staleness__max_age": "1h"}


@contextmanager
def silent(fault_server: FaultServer) -> Iterator[None]:
    """The server and all its processes are stopped: it takes connections and bytes, and answers nothing."""
    postmaster = psutil.Process(fault_server.server.postmaster_pid)
    stopped = [postmaster, *postmaster.children()]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def test_D01_sigterm_while_idle(dsn: str, connection: Connection, tmp_path: Path) -> None:
    """An idle leader that is told to stop says so, gives the lock back and ends at once, not at the next slot."""
    with Supervisor(tmp_path) as supervisor:
        with Daemon(dsn, schedule__interval="1d", extra=supervisor.environment) as daemon:
            daemon.wait_for("leader.acquired")
            daemon.until(lambda: daemon.metric("analytics_view_age_minutes", view="recent_failures") is not None)
            assert daemon.stop() == 0
            assert daemon.events("daemon.stopped")[0]["seconds"] < 2
        eventually(lambda: supervisor.count("STOPPING=1") == 1)
    eventually(lambda: our_sessions(connection) == 0)
    assert value(connection, "select pg_try_advisory_lock(2583, 1)") is True


def test_D03_sigterm_while_the_server_is_silent(fault_server: FaultServer) -> None:
    """With a refresh under way on a server that no longer answers, the stop is forced within its deadline, exit 0."""
    with fault_server.connect() as connection:
        stretch(connection, "recent_failures", 60)
        with Daemon(fault_server.dsn, **SLOT | {"schedule__interval": "6h"}) as daemon:
            eventually(lambda: sleeper(connection))
            with silent(fault_server):
                # systemd's unit waits 20 s before it kills
                assert daemon.stop() == 0
            forced = daemon.events("shutdown.forced")[0]
            assert "refresh" in forced["still_running"] or "cancel.timeout" in forced["still_running"]
            assert daemon.events("daemon.stopped")[0]["exit_code"] == 0
            # one line for the run that was given up, and none for what it met after the scheduler's end
            assert [line["outcome"] for line in daemon.events("refresh.finished")] == ["cancelled"]
            assert daemon.events("library.message") == []


def test_D04_sigterm_during_backoff(dsn: str, stretched: Connection) -> None:
    """A retry that waits for its turn is woken by the stop, and begins no other attempt."""
    stretch(stretched, "recent_failures", 20)
    # longer than a stop waits for a run
    broken = """
        from analytics_refreshd.app import retry_policy
        from tenacity import wait_fixed
        assert retry_policy.RETRY_WAIT
        retry_policy.RETRY_WAIT = wait_fixed(12.0)
    """
    with Terminator(dsn), Daemon(dsn, broken=broken, **SLOT) as daemon:
        assert daemon.wait_for("refresh.retry")["wait_seconds"] == 12.0
        assert daemon.stop() == 0
        (line,) = daemon.events("refresh.finished")
        assert (line["outcome"], line["reason"], line["attempts"]) == ("cancelled", "shutdown", 1)
        assert daemon.events("shutdown.forced") == []
        assert daemon.events("daemon.stopped")[0]["seconds"] < 6


def test_D05_second_sigterm(fault_server: FaultServer) -> None:
    """A second signal shortens the wait for what hangs; nothing deadlocks, and the exit is 0."""
    with fault_server.connect() as connection:
        stretch(connection, "recent_failures", 60)
        with Daemon(fault_server.dsn, **SLOT | {"schedule__interval": "6h"}) as daemon:
            eventually(lambda: sleeper(connection))
            with silent(fault_server):
                daemon.process.send_signal(signal.SIGTERM)
                daemon.wait_for("daemon.stopping")
                assert daemon.stop(signal.SIGINT) == 0
            # without the second signal the refresh alone is waited for six seconds
            assert daemon.events("daemon.stopped")[0]["seconds"] < 6


@pytest.mark.parametrize(
    "hanging",
    ["refresh.refresher.PostgresRefresher.refresh", "state.status.PostgresStatusReader.read"],
    ids=["refresh", "evaluation"],
)
def test_D07_a_thread_that_never_ends(dsn: str, stretched: Connection, hanging: str) -> None:
    """Work that no cancel reaches does not keep the interpreter from ending: exit 0 within the deadline."""
    module, kind, method = hanging.rsplit(".", 2)
    broken = f"""
        import threading
        from analytics_refreshd.postgres.{module} import {kind}
        reached = threading.Event()
        def hang(self, *given):
            print("reached", file=__import__("sys").stderr, flush=True)
            threading.Event().wait()
        {kind}.{method} = hang
    """
    with Daemon(dsn, broken=broken, **CALM) as daemon:
        daemon.wait_for("leader.acquired")
        daemon.until(lambda: "reached" in daemon.raw)
        assert daemon.stop() == 0
        assert daemon.events("shutdown.forced")
        assert daemon.events("daemon.stopped")


def test_D08_main_thread_blocked(dsn: str, tmp_path: Path) -> None:
    """A main thread that hangs feeds no watchdog and is not live; SIGABRT, as systemd sends it, prints every stack."""
    broken = """
        import threading
        from analytics_refreshd.app import daemon, health, timetable
        assert timetable._BEAT_SECONDS and health._SILENT_SECONDS
        timetable._BEAT_SECONDS, health._SILENT_SECONDS = 0.5, 2.0
        tick, calls = daemon.Daemon._tick, []
        def hanging(self):
            calls.append(1)
            if len(calls) > 3:
                threading.Event().wait()
            return tick(self)
        daemon.Daemon._tick = hanging
    """
    with Supervisor(tmp_path, watchdog_seconds=2) as supervisor:
        with Daemon(dsn, broken=broken, extra=supervisor.environment, **CALM) as daemon:
            supervisor.wait_for("WATCHDOG=1", count=3)
            daemon.until(lambda: daemon.get("/livez")[0] == 503)
            assert "main loop" in daemon.get("/livez")[1]
            daemon.wait_for("refresh.finished")  # the others go on, and feed nothing
            assert supervisor.count("WATCHDOG=1") == 3
            assert daemon.stop(signal.SIGABRT) == -signal.SIGABRT
            assert any("most recent call first" in line for line in daemon.raw)
            assert any("in hanging" in line for line in daemon.raw)


def test_D09_watchdog_during_a_long_refresh(dsn: str, stretched: Connection, tmp_path: Path) -> None:
    """A refresh that takes longer than the watchdog's patience is healthy: the watchdog is fed all the while."""
    stretch(stretched, "recent_failures", 6)
    with Supervisor(tmp_path, watchdog_seconds=3) as supervisor:
        with Daemon(dsn, schedule__interval="6h", extra=supervisor.environment) as daemon:
            eventually(lambda: sleeper(stretched))
            before = supervisor.count("WATCHDOG=1")
            daemon.wait_for("refresh.finished", lambda line: bool(line["outcome"] == "ok"))
            assert supervisor.count("WATCHDOG=1") >= before + 3
            assert daemon.stop() == 0


def test_D11_database_down_at_start(tmp_path: Path) -> None:
    """Without a database the daemon is ready for its supervisor, live, unready for traffic, and stays."""
    with Supervisor(tmp_path, watchdog_seconds=2) as supervisor:
        nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
        with Daemon(nowhere, extra=supervisor.environment, **CALM) as daemon:
            supervisor.wait_for("READY=1")
            daemon.wait_for("database.lost")
            assert daemon.get("/livez")[0] == 200
            assert daemon.get("/readyz")[0] == 503
            assert daemon.metric("analytics_database_up") == 0
            supervisor.wait_for("WATCHDOG=1", count=3)
            eventually(lambda: any("database unavailable" in line for lines in supervisor.messages for line in lines))
            assert daemon.stop() == 0


@pytest.mark.parametrize("sink", ["full device", "closed pipe"])
def test_D17_log_that_takes_nothing(dsn: str, connection: Connection, sink: str) -> None:
    """With its log on a full device or a pipe that nobody reads, the daemon refreshes, counts the loss, and stops."""
    opened = "os.open('/dev/full', os.O_WRONLY)" if sink == "full device" else "closed()"
    broken = f"""
        import os
        def closed():
            reader, writer = os.pipe()
            os.close(reader)
            return writer
        os.dup2({opened}, 2)
    """
    port = free_port()
    with Daemon(dsn, broken=broken, **CALM | {"http__port": port}) as daemon:
        daemon.lines.append({"event": "daemon.started", "http": f"127.0.0.1:{port}"})
        eventually(lambda: value(connection, "select count(*) from analytics_refresh.runs where outcome = 'ok'") >= 2)
        assert (daemon.metric("analytics_log_lines_lost_total") or 0) >= 2
        assert daemon.stop() == 0
    assert value(connection, "select count(*) from analytics_refresh.runs where outcome is distinct from 'ok'") == 0


@pytest.mark.quick
def test_D19_nothing_forks() -> None:
    """No part of the program forks or uses processes of multiprocessing; a child is always another program."""
    for path in sorted(Path(analytics_refreshd.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Attribute):
                names = [node.attr]
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            # a keyword of subprocess that runs our own code in the child
            if isinstance(node, ast.keyword):
                names = [node.arg or ""]
            assert not {"fork", "forkpty", "ProcessPoolExecutor", "preexec_fn"} & set(names), path
            assert not any(name.startswith("multiprocessing") for name in names), path


@pytest.mark.quick
def test_D19_a_child_gets_no_connection(dsn: str, tmp_path: Path) -> None:
    """The password command, the one program that is started, inherits no socket; a fork leaves the session alone."""
    seen = tmp_path / "seen"
    script = tmp_path / "password"
    script.write_text(f"#!/bin/sh\nls -l /proc/self/fd >> {seen}\necho secret\n")
    script.chmod(0o700)
    with Daemon(dsn, database__password_command=[str(script)], **CALM) as daemon:
        daemon.wait_for("refresh.finished", count=2)
        assert daemon.stop() == 0
    assert "socket:" not in seen.read_text()
    program = """
import json, os, sys
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.connection.session import Session
session = Session(Connector(ConnectionSettings("test", url=sys.argv[1])))
ask = lambda: session.run(lambda connection: connection.execute("select pg_backend_pid()").fetchone()[0])
before = ask()
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
print(json.dumps([before, ask()]))
session.close()
"""
    done = subprocess.run([sys.executable, "-c", program, dsn], capture_output=True, text=True, timeout=30, check=True)
    before, after = json.loads(done.stdout)
    assert before == after
