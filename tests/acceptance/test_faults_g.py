"""Section G of the fault matrix at the running daemon; what needs no database is tested beside its adapter."""

import signal
import threading
from pathlib import Path

import psycopg
import pytest

from analytics_refreshd.core.model import VIEWS
from tests.support.daemon import Daemon
from tests.support.faults import FAST, Connection
from tests.support.machine import Supervisor
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault
CALM = FAST | {"staleness__max_age": "1h"}
AGE = "analytics_view_age_minutes"


def test_G05_view_removed_by_a_reload(dsn: str, tmp_path: Path) -> None:
    """A view that left the configuration leaves the metrics; the others keep their counts."""
    path = tmp_path / "config.toml"
    path.write_text('[schedule]\ninterval = "2s"\n')
    with Daemon(dsn, config=path) as daemon:
        daemon.wait_for("refresh.finished", lambda line: bool(line["outcome"] == "ok"), count=2)
        daemon.until(lambda: daemon.metric(AGE, view=VIEWS[3]) is not None)
        path.write_text(f'[schedule]\ninterval = "2s"\n[refresh]\nviews = {list(VIEWS[:3])}\n'.replace("'", '"'))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("config.reloaded")
        daemon.until(lambda: VIEWS[3] not in daemon.get("/metrics")[1])
        assert (daemon.metric("analytics_refreshes_total", view=VIEWS[0]) or 0) >= 2
        assert daemon.stop() == 0


@pytest.mark.quick
def test_G06_lost_lead_clears_the_ages(dsn: str) -> None:
    """A replica that loses the lead exports no age from that moment on, instead of one that stands still."""
    with Daemon(dsn, **CALM) as daemon, psycopg.connect(dsn, autocommit=True) as stranger:
        daemon.wait_for("refresh.finished")
        daemon.until(lambda: daemon.metric(AGE, view=VIEWS[0]) is not None)
        taking = threading.Thread(target=stranger.execute, args=["select pg_advisory_lock(2583, 1)"], daemon=True)
        taking.start()
        with psycopg.connect(dsn, autocommit=True) as other:
            waits = (
                "select 1 from pg_locks l join pg_database d on d.oid = l.database"
                " where d.datname = current_database() and l.classid = 2583 and l.objid = 1 and not l.granted"
            )
            eventually(lambda: other.execute(waits).fetchone())
            other.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where datname = current_database() and application_name like '%/leader'"
            )
        taking.join(10)
        daemon.wait_for("leader.lost")
        daemon.until(lambda: daemon.metric(AGE, view=VIEWS[0]) is None)
        assert daemon.metric("analytics_leader") == 0
        assert daemon.stop() == 0


def test_G08_run_beyond_its_deadline(dsn: str, tmp_path: Path) -> None:
    """A run that outlasts its deadline and a margin ends liveness and the watchdog's food; /metrics still answers."""
    broken = """
        import threading, analytics_refreshd.app.health as health
        from analytics_refreshd.app.daemon import Daemon
        from analytics_refreshd.postgres.refresh.refresher import PostgresRefresher
        assert health._OVERDUE_SECONDS and PostgresRefresher.refresh
        health._OVERDUE_SECONDS = 1.0
        PostgresRefresher.refresh = lambda self, *given: threading.Event().wait()
        tick = Daemon._tick
        def told(self):
            goes_on = tick(self)
            self._service.systemd._send("X_TICK=1")
            return goes_on
        Daemon._tick = told
    """
    with Supervisor(tmp_path, watchdog_seconds=2) as supervisor:
        with Daemon(dsn, broken=broken, extra=supervisor.environment, **CALM) as daemon:
            supervisor.wait_for("WATCHDOG=1")
            daemon.until(lambda: daemon.get("/livez")[0] == 503)
            assert "past its deadline" in daemon.get("/livez")[1]
            # a look at the process may have been under way while the probe was answered
            looks = supervisor.count("X_TICK=1") + 1
            supervisor.wait_for("X_TICK=1", count=looks)
            fed = supervisor.count("WATCHDOG=1")
            supervisor.wait_for("X_TICK=1", count=looks + 2)
            assert supervisor.count("WATCHDOG=1") == fed
            assert daemon.get("/metrics")[0] == 200
            assert daemon.stop() == 0


def test_G10_restart_of_the_daemon(dsn: str, connection: Connection) -> None:
    """After a restart, before any run of its own, the last run's figures are there and the counters begin at 0."""
    with Daemon(dsn, **CALM) as daemon:
        daemon.wait_for("refresh.finished", lambda line: bool(line["outcome"] == "ok"))
        assert daemon.stop() == 0
    # a long interval, so that no slot begins meanwhile
    with Daemon(dsn, schedule__interval="24h") as daemon:
        daemon.until(lambda: daemon.metric(AGE, view=VIEWS[0]) is not None)
        daemon.until(lambda: daemon.metric("analytics_refresh_duration_seconds", view=VIEWS[0]) is not None)
        assert (daemon.metric("analytics_view_last_success_timestamp_seconds", view=VIEWS[0]) or 0) > 0
        assert daemon.metric("analytics_view_refresh_success", view=VIEWS[0]) == 1
        assert daemon.metric("analytics_runs_total", outcome="ok") == 0
        assert daemon.events("refresh.finished") == []
        assert daemon.stop() == 0


def test_G12_multiprocess_mode(dsn: str, tmp_path: Path) -> None:
    """With PROMETHEUS_MULTIPROC_DIR set the daemon does not start, and one sentence names the variable."""
    with Daemon(dsn, extra={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}) as daemon:
        assert daemon.process.wait(40) in (70, 78)
    assert any("PROMETHEUS_MULTIPROC_DIR" in line for line in daemon.raw)
    assert not any("Traceback" in line for line in daemon.raw)
