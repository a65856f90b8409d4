"""Section A of the fault matrix: the server restarts, crashes, loses its postmaster, recovers."""

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from tests.support.daemon import Daemon
from tests.support.faults import (
    CALL,
    FAST,
    SLOT,
    Connection,
    FaultServer,
    refreshes_under_way,
    sleeper,
    value,
)
from tests.support.installs import stretch
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def failed_without_database(daemon: Daemon) -> int:
    """Runs that ended because the server was away."""
    return sum(line["reason"] == "connect" for line in daemon.events("refresh.finished"))


def slots_without_database(daemon: Daemon) -> int:
    """Slots that came to nothing because the server was away, as the log tells them."""
    return failed_without_database(daemon) + len(daemon.events("refresh.skipped"))


class Knocks:
    """Listens where a server was and counts who comes; nobody gets an answer."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.count = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._listener.accept()[0].close()
                self.count += 1

    def close(self) -> None:
        """Leave the port to the server."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def test_A03_fast_restart(fault_server: FaultServer) -> None:
    """A restart: unready and not hammering meanwhile, then leader again, refreshing, with the slots accounted for."""
    # a listener that hangs up makes libpq try without TLS too, which would count twice
    with Daemon(fault_server.dsn + "?sslmode=disable", **FAST | {"schedule__interval": "5s"}) as daemon:
        daemon.wait_for("refresh.finished", ok)
        assert daemon.metric("analytics_database_up") == 1
        fault_server.server.signal(signal.SIGINT)
        eventually(lambda: not (fault_server.server.data / "postmaster.pid").exists())
        daemon.wait_for("database.lost")
        knocks, began = Knocks(fault_server.server.port), time.monotonic()
        time.sleep(8)
        # a slot within it finds nobody to lead, or still runs as the leader's and fails
        eventually(lambda: slots_without_database(daemon) >= 1)
        knocks.close()
        # once a second: one more than there are whole seconds
        assert 1 <= knocks.count <= time.monotonic() - began + 1
        assert daemon.metric("analytics_database_up") == 0
        assert daemon.get("/livez")[0] == 200
        assert daemon.get("/readyz")[0] == 503
        leading = len(daemon.events("leader.acquired"))
        fault_server.server.start()
        restored = daemon.wait_for("database.restored")
        assert restored["missed_slots"] + failed_without_database(daemon) >= 1
        daemon.wait_for("leader.acquired", count=leading + 1)
        daemon.wait_for("refresh.finished", ok, count=len(daemon.events("refresh.finished")) + 1)
        assert daemon.metric("analytics_database_up") == 1
        eventually(lambda: daemon.metric("analytics_history_pending") == 0)
        assert daemon.stop() == 0
    with fault_server.connect() as connection:
        assert value(connection, "select count(*) from analytics_refresh.runs where reason = 'connect'") >= 1


@pytest.mark.parametrize("crash", ["immediate shutdown", "sibling killed"])
def test_A04_server_crash(fault_server: FaultServer, crash: str) -> None:
    """A crash is a lost connection, with SQLSTATE or without; every run that began is in history afterwards."""
    with fault_server.connect() as connection, Daemon(fault_server.dsn, **SLOT, log__level="debug") as daemon:
        stretch(connection, "recent_failures", 20)
        eventually(lambda: sleeper(connection))
        stretch(connection, "recent_failures")
        if crash == "immediate shutdown":
            fault_server.server.stop("immediate")
            fault_server.server.start()
        else:
            _kill_sibling(connection)
        lost = daemon.wait_for("database.lost")
        # where the server's last words arrive before the connection ends, they say so
        assert lost["reason"] in ("conn_lost", "connect")
        assert lost["sqlstate"] in (None, "57P01", "57P02", "57P03")
        # the run is tried again, or left to the leader that is elected anew
        daemon.wait_for("refresh.finished", ok)
        daemon.wait_for("database.restored")
        hit = [line for line in daemon.events("refresh.finished") if not ok(line)]
        assert {line["outcome"] for line in hit} <= {"cancelled", "failed", "unknown", "skipped"}
        assert {line["reason"] for line in hit} <= {"conn_lost", "connect", "not_leader", "overlap"}
        eventually(lambda: daemon.metric("analytics_history_pending") == 0)
        assert daemon.stop() == 0
        begun = {(line["run_id"]) for line in daemon.events("refresh.started")}
        finished = {(line["run_id"], line["outcome"]) for line in daemon.events("refresh.finished")}
    with fault_server.connect() as connection:
        rows = connection.execute("select run_id::text, outcome from analytics_refresh.runs").fetchall()
    assert begun == {run_id for run_id, _ in finished}
    assert finished <= set(rows)


def _kill_sibling(connection: Connection) -> None:
    """SIGKILL to one backend, upon which the postmaster ends all of them and recovers."""
    with psycopg.connect(connection.info.dsn) as sibling:
        os.kill(sibling.info.backend_pid, signal.SIGKILL)


_UNTIL_GO = "while (select s.size from pg_stat_file('go', true) s) is null loop end loop"
_BUSY_REFRESHING = (
    "create or replace function public.held(held_view text) returns boolean language plpgsql volatile as $f$ begin"
    f" if held_view = 'action_type_distribution' then {_UNTIL_GO}; end if; return true; end $f$"
)
_BUSY_COMMITTING = (
    "create function public.busy() returns trigger language plpgsql as $f$ begin"
    f" {_UNTIL_GO}; return null; end $f$;"
    " create constraint trigger busy after insert or update on analytics_refresh.last_refresh"
    " deferrable initially deferred for each row execute function public.busy()"
)


@pytest.mark.parametrize(
    ("busy", "statement"),
    [(_BUSY_REFRESHING, CALL), (_BUSY_COMMITTING, "commit")],
    ids=["refreshing", "committing"],
)
def test_A05_postmaster_killed_under_a_busy_backend(
    fault_server: FaultServer, busy: LiteralString, statement: str
) -> None:
    """What a backend without its postmaster says is not believed: no success is recorded, no view counts as fresh."""
    with fault_server.connect() as connection:
        connection.execute(busy)
    with Daemon(fault_server.dsn, **FAST | {"schedule__interval": "10s"}) as daemon:
        daemon.wait_for("leader.acquired")
        with fault_server.connect() as connection:
            eventually(lambda: refreshes_under_way(connection, statement))
        fault_server.server.signal(signal.SIGKILL)
        # the other sessions end with the postmaster; this one has its work to end, and says so
        daemon.wait_for("leader.lost")
        (fault_server.server.data / "go").touch()
        daemon.wait_for("database.lost")
        line = daemon.wait_for("refresh.finished")
        # cancelled: the daemon cancels the run with which it loses the lead, if that comes first
        assert line["outcome"] in ("unknown", "failed", "cancelled")
        assert not any(view["success"] for view in line["views"])
        assert daemon.metric("analytics_view_last_success_timestamp_seconds", view="recent_failures") is None
        (fault_server.server.data / "postmaster.pid").unlink()
        eventually(lambda: _starts(fault_server))
        daemon.wait_for("refresh.finished", ok)
        assert daemon.stop() == 0
    with fault_server.connect() as connection:
        recorded = "select outcome from analytics_refresh.runs where run_id::text = %s"
        assert value(connection, recorded, line["run_id"]) == line["outcome"]


def _starts(fault_server: FaultServer) -> bool:
    """The server starts once the orphans have let go of its shared memory."""
    with suppress(subprocess.CalledProcessError):
        fault_server.server.start()
        return True
    return False


@pytest.mark.quick
def test_A06_server_in_recovery(fault_server: FaultServer, tmp_path: Path) -> None:
    """While the server recovers the daemon lives, is not ready, and takes it for nothing but out of reach."""
    go = fault_server.server.folder / "go"
    with Daemon(fault_server.dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", ok)
        fault_server.server.stop("immediate")
        (fault_server.server.data / "recovery.signal").touch(mode=0o666)
        restore = f"'while [ ! -e {go} ]; do sleep 0.1; done; false'"
        with (fault_server.server.data / "postgresql.conf").open("a") as settings:
            settings.write(f"\nrestore_command = {restore}\n")
        threading.Thread(target=fault_server.server.start, daemon=True).start()
        starting = eventually(lambda: _refusal(fault_server))
        assert "starting up" in starting or "not yet accepting" in starting or "recovery" in starting
        daemon.wait_for("database.lost")
        eventually(lambda: "starting up" in (why := daemon.get("/readyz")[1]) or "accepting" in why)
        assert daemon.get("/readyz")[0] == 503
        assert daemon.get("/livez")[0] == 200
        assert "check [database] user" not in daemon.get("/readyz")[1]
        go.touch()
        daemon.wait_for("database.restored")
        daemon.wait_for("refresh.finished", ok, count=len(daemon.events("refresh.finished")) + 1)
        assert daemon.stop() == 0


def _refusal(fault_server: FaultServer) -> str:
    """What the server says to a connection while it does not serve."""
    try:
        with fault_server.connect():
            return ""
    except psycopg.OperationalError as error:
        return "" if "refused" in str(error) else str(error)
