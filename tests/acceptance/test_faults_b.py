"""Section B of the fault matrix: the network, and servers that do not answer."""

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from tests.support.adapters import Running, address, refresher, sleeping, through
from tests.support.daemon import Daemon, command
from tests.support.faults import FAST, SLOT, Connection, FaultServer, fired, refreshes_under_way, sleeper, value
from tests.support.installs import stretch
from tests.support.pooler import pooler
from tests.support.proxy import Proxy, drop_all
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


class SilentProxy(Proxy):
    """A relay that can stop hearing its clients: the kernel drops, and acknowledges, nothing of what they send."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self._clients: list[socket.socket] = []

    def _relay(self, source: socket.socket, target: socket.socket, requests: bool) -> None:
        if requests:
            self._clients.append(source)
        super()._relay(source, target, requests)

    def deafen(self) -> None:
        """Let every accepted socket hear nothing more."""
        for client in self._clients:
            drop_all(client)


@pytest.mark.quick
def test_B01_half_open_connection(dsn: str, stretched: Connection) -> None:
    """Keepalives end the wait for a dead network, and the fence keeps the next run out while the old one goes on."""
    stretch(stretched, "recent_failures", 60)
    with SilentProxy(address(dsn)) as proxy:
        url = make_conninfo(
            through(dsn, proxy.port),
            keepalives_idle=1,
            keepalives_interval=1,
            keepalives_count=2,
            tcp_user_timeout=3000,
        )
        with refresher(url, lock_timeout_seconds=1) as refresh:
            running = Running(refresh)
            assert running.started.wait(10)
            eventually(sleeping(stretched, running.pids[0]))
            proxy.deafen()
            fault = running.join(20).error
            assert isinstance(fault, DatabaseFault)
            assert fault.error_class is ErrorClass.CONN_LOST
            with pytest.raises(DatabaseFault) as refused:
                refresh.refresh(uuid4(), lambda pid: None)
            assert refused.value.reason is Reason.OVERLAP
            assert refreshes_under_way(stretched) == 1
            stretch(stretched, "recent_failures")
            stretched.execute("select pg_terminate_backend(%s, 5000)", (running.pids[0],))
            assert len(refresh.refresh(uuid4(), lambda pid: None).reports) == 4


@pytest.mark.parametrize("zero", ["0", "00"])
def test_B02_keepalives_off_with_user_timeout(zero: str) -> None:
    """A URL that turns keepalives off is refused at the start, with whatever else is wrong: tcp_user_timeout would
    silently be off too."""
    url = f"postgresql://u@127.0.0.1:1/x?keepalives={zero}&tcp_user_timeout=1000"
    done = command(url, "run", schedule__splay="1h")
    assert done.returncode == 78
    assert "keepalives=0" in done.stderr
    assert "schedule.splay" in done.stderr
    assert "Traceback" not in done.stderr


def test_B03_server_process_stopped(dsn: str, stretched: Connection) -> None:
    """A stopped backend, which TCP still acknowledges, costs a timeout at the deadline, and the slots until it ends."""
    stretch(stretched, "recent_failures", 60)
    settings = FAST | {"schedule__interval": "3s"}
    with Daemon(dsn, **settings) as daemon:
        pid = eventually(lambda: sleeper(stretched))
        os.kill(pid, signal.SIGSTOP)
        try:
            line = daemon.wait_for("refresh.finished")
            assert (line["outcome"], line["reason"]) == ("timeout", "timeout")
            assert not any(view["success"] for view in line["views"])
            assert daemon.get("/livez")[0] == 200
            daemon.wait_for("refresh.finished", lambda line: line["reason"] == "overlap")
            assert refreshes_under_way(stretched) == 1
        finally:
            stretch(stretched, "recent_failures")
            os.kill(pid, signal.SIGCONT)
        daemon.wait_for("refresh.finished", ok)
        assert daemon.stop() == 0


def test_B04_cancel_request_hangs(fault_server: FaultServer) -> None:
    """Where nobody takes the cancel request either, the stop still ends in time, and says what it left behind."""
    with fault_server.connect() as connection:
        stretch(connection, "recent_failures", 60)
        with Daemon(fault_server.dsn, **SLOT) as daemon:
            eventually(lambda: sleeper(connection))
            fault_server.server.signal(signal.SIGSTOP)
            # the statement goes on for a minute, and the stop has ten seconds
            assert daemon.stop() == 0
            forced = daemon.events("shutdown.forced")[-1]
            assert "cancel.timeout" in forced["still_running"]
            assert daemon.events("daemon.stopped")
            fault_server.server.signal(signal.SIGCONT)


def test_B05_connect_hangs(fault_server: FaultServer) -> None:
    """A server that accepts and never speaks is given up at connect_timeout; the daemon stays up and recovers."""
    fault_server.server.signal(signal.SIGSTOP)
    with Daemon(fault_server.dsn, **FAST, database__connect_timeout="2s") as daemon:
        lost = daemon.wait_for("database.lost")
        assert lost["reason"] == "connect"
        assert daemon.get("/livez")[0] == 200
        assert daemon.get("/readyz")[0] == 503
        fault_server.server.signal(signal.SIGCONT)
        daemon.wait_for("refresh.finished", ok)
        assert daemon.stop() == 0


def test_B06_unknown_host() -> None:
    """A host that does not exist is a connection fault that names what to check, and the daemon stays up."""
    with Daemon("postgresql://u@no-such-host.invalid/x?sslmode=disable", **FAST) as daemon:
        lost = daemon.wait_for("database.lost")
        assert lost["reason"] == "connect"
        assert "no-such-host.invalid" in lost["error"]
        assert daemon.get("/livez")[0] == 200
        assert daemon.stop() == 0


def test_B06_slow_resolver(tmp_path: Path) -> None:
    """A resolver that hangs stalls neither scheduler nor probes, and a stop is not held up by it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\n"
        "real = socket.getaddrinfo\n"
        "def slow(host, *args, **kwargs):\n"
        "    if host == 'slow.example':\n"
        "        time.sleep(60)\n"
        "    return real(host, *args, **kwargs)\n"
        "socket.getaddrinfo = slow\n"
    )
    url = "postgresql://u@slow.example/x?sslmode=disable"
    settings = FAST | {"database__connect_timeout": "2s"}
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with Daemon(url, **settings, extra={"PYTHONPATH": path}) as daemon:
        lost = daemon.wait_for("database.lost")
        assert "no connection within" in lost["error"]
        before = daemon.metric("analytics_next_run_timestamp_seconds") or 0
        assert daemon.get("/livez")[0] == 200
        daemon.until(lambda: (daemon.metric("analytics_next_run_timestamp_seconds") or 0) > before)
        assert daemon.stop() == 0


def test_B09_connection_reset_mid_result(dsn: str, stretched: Connection) -> None:
    """Connections reset under a refresh cost an attempt; no part of a result is recorded, and the next run is whole."""
    stretch(stretched, "action_type_distribution", 20)
    with Proxy(address(dsn)) as proxy, Daemon(through(dsn, proxy.port), **SLOT) as daemon:
        pid = eventually(lambda: sleeper(stretched))
        stretch(stretched, "action_type_distribution")
        proxy.reset()
        daemon.wait_for("database.lost")
        # the server would hold the fence until the old statement ends
        stretched.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        # in the next slot where the attempts of this one met the fence
        daemon.wait_for("refresh.finished", ok, within=70)
        for line in daemon.events("refresh.finished"):
            assert len({view["success"] for view in line["views"]}) <= 1
        assert daemon.stop() == 0
    partial = "select count(*) from analytics_refresh.runs where outcome = 'partial'"
    assert value(stretched, partial) == 0


def test_B10_high_latency(dsn: str, stretched: Connection) -> None:
    """With 300 ms added to every round trip the run succeeds, and leadership is not lost over its heartbeats."""
    with Proxy(address(dsn)) as proxy:
        proxy.on_request = lambda data: time.sleep(0.3)
        with Daemon(through(dsn, proxy.port), schedule__interval="30s") as daemon:
            line = daemon.wait_for("refresh.finished")
            assert ok(line)
            assert line["attempts"] == 1
            daemon.until(lambda: daemon.metric("analytics_view_age_minutes", view="recent_failures") is not None)
            asked = (
                "select query_start from pg_stat_activity where datname = current_database()"
                " and application_name like '%/leader' and query like '%transaction_read_only%'"
            )
            beats: set[object] = set()

            def beaten() -> bool:
                beats.add(value(stretched, asked))
                return len(beats - {None}) >= 3

            daemon.until(beaten)
            assert daemon.events("leader.lost") == []
            assert daemon.metric("analytics_leader") == 1
            assert daemon.stop() == 0


def test_B11_transaction_pooler(dsn: str) -> None:
    """Behind a pooler in transaction mode nobody leads: the daemon stays up, unready, and says what to change."""
    settings = FAST | {"alerts__no_leader_for": "12s"}
    with pooler(dsn, "transaction") as url, Daemon(url, **settings) as daemon:
        alert = fired(daemon, "AnalyticsContractBroken")
        assert "direct connection" in alert["description"]
        # by then it has tried again, every 5 s, also at moments when it is the pooler's only busy client
        fired(daemon, "AnalyticsNoLeader")
        status, why = daemon.get("/readyz")
        assert status == 503
        assert "pooler" in why
        assert daemon.get("/livez")[0] == 200
        assert daemon.events("leader.acquired") == []
        assert daemon.events("refresh.finished") == []
        assert daemon.stop() == 0
