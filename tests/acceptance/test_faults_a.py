"""Section A of the fault matrix: connections end in the middle of something."""

import socket
import threading
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.support.adapters import address, through
from tests.support.daemon import Daemon, Settings
from tests.support.faults import (
    FAST,
    SLOT,
    Connection,
    Terminator,
    alerts_of,
    end_our_sessions,
    fired,
    sleeper,
    value,
)
from tests.support.installs import stretch
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def test_A01_backend_terminated_mid_refresh(dsn: str, stretched: Connection) -> None:
    """A terminated backend costs one attempt: told with 57P01, tried again in the same slot, no alert."""
    stretch(stretched, "recent_failures", 20)
    with Daemon(dsn, **SLOT) as daemon:
        pid = eventually(lambda: sleeper(stretched))
        stretch(stretched, "recent_failures")
        stretched.execute("select pg_terminate_backend(%s)", (pid,))
        lost = daemon.wait_for("database.lost")
        assert (lost["sqlstate"], lost["reason"]) == ("57P01", "conn_lost")
        line = daemon.wait_for("refresh.finished")
        assert (line["outcome"], line["attempts"]) == ("ok", 2)
        assert daemon.metric("analytics_run_retries_total") == 1
        assert daemon.events("alert.firing") == []
        assert daemon.stop() == 0
    assert value(stretched, "select count(*) from analytics_refresh.runs where outcome = 'ok' and attempts = 2") == 1


def test_A01_backend_terminated_again_and_again(dsn: str, stretched: Connection) -> None:
    """Where every attempt is terminated the run fails, never succeeds, and only the second one in a row alerts."""
    stretch(stretched, "recent_failures", 20)
    with Terminator(dsn) as terminator, Daemon(dsn, **FAST | {"schedule__interval": "3s"}) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert (line["outcome"], line["reason"], line["sqlstate"]) == ("failed", "conn_lost", "57P01")
        assert {view["reason"] for view in line["views"]} == {"rolled_back"}
        alert = fired(daemon, "AnalyticsRefreshFailed", "recent_failures")
        finished = daemon.events("refresh.finished")
        assert len(finished) >= 2
        assert daemon.lines.index(finished[1]) < daemon.lines.index(alert)
        assert "57P01" in alert["description"]
        assert daemon.metric("analytics_refresh_failures_total", view="recent_failures", reason="conn_lost") or (
            daemon.metric("analytics_refresh_failures_total", view="recent_failures", reason="rolled_back")
        )
        assert daemon.stop() == 0
    assert terminator.count >= 2
    assert value(stretched, "select count(*) from analytics_refresh.runs where outcome = 'ok'") == 0


def test_A02_idle_connection_terminated_between_runs(dsn: str, connection: Connection) -> None:
    """Sessions that died while idle are replaced without a word, counted, and the next run succeeds."""
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", ok)
        before = daemon.metric("analytics_database_reconnects_total") or 0
        terminate = (
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database()"
            " and application_name like '%/refresh' and state = 'idle'"
        )
        eventually(lambda: connection.execute(terminate).fetchall() == [(True,)])
        seen = len(daemon.events("refresh.finished"))
        daemon.wait_for("refresh.finished", count=seen + 2)
        assert all(ok(line) and line["attempts"] == 1 for line in daemon.events("refresh.finished"))
        assert (daemon.metric("analytics_database_reconnects_total") or 0) >= before + 1
        assert daemon.events("database.lost") == []
        assert not alerts_of(daemon, "AnalyticsRefreshFailed", "AnalyticsDatabaseUnavailable")
        assert daemon.stop() == 0


class LosingTheCommit(Proxy):
    """A relay that lets the refresh's first COMMIT through and cuts its connection before the answer."""

    def __init__(self, dsn: str, *, for_good: bool) -> None:
        super().__init__(address(dsn))
        self._dsn = dsn
        self._for_good = for_good
        self._muted: list[socket.socket] = []
        self.done = threading.Event()

    def _relay(self, source: socket.socket, target: socket.socket, requests: bool) -> None:
        refreshing = False
        with suppress(OSError):
            while data := source.recv(65536):
                refreshing = refreshing or (requests and b'"refresh_action_analytics"' in data)
                self._moving.wait()
                if refreshing and b"commit\0" in data and not self.done.is_set():
                    self._commit_unheard(source, target, data)
                elif source not in self._muted:
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def _commit_unheard(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        self.done.set()
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            before = value(connection, REFRESHED)
            self._muted.append(server)
            server.sendall(data)
            eventually(lambda: value(connection, REFRESHED) > before)
        if self._for_good:
            self.freeze()
        for each in (client, server):
            each.shutdown(socket.SHUT_RDWR)


REFRESHED = "select max(last_success_at) from analytics_refresh.last_refresh"


def evaluated_after(daemon: Daemon, at: float) -> bool:
    """Whether the daemon has evaluated since then."""
    return evaluated_at(daemon) > at


def evaluated_at(daemon: Daemon) -> float:
    return daemon.metric("analytics_last_evaluation_timestamp_seconds") or 0.0


@pytest.mark.quick
def test_A07_outcome_unknown_is_settled(dsn: str, stretched: Connection) -> None:
    """A COMMIT whose answer was lost is refreshed again, which is harmless: no failure recorded, no alert."""
    with LosingTheCommit(dsn, for_good=False) as proxy, Daemon(through(dsn, proxy.port), **SLOT) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert proxy.done.is_set()
        assert (line["outcome"], line["attempts"]) == ("ok", 2)
        assert daemon.events("alert.firing") == []
        assert daemon.stop() == 0
    assert value(stretched, "select count(*) from analytics_refresh.runs where outcome <> 'ok'") == 0


def test_A07_outcome_unknown_stays_unknown(dsn: str, stretched: Connection) -> None:
    """Where it cannot be refreshed again the run is unknown, not failed, and the views are found fresh afterwards."""
    settings: Settings = {
        "schedule__interval": "6s",
        "database__connect_timeout": "2s",
        "refresh__deadline": "5s",
        "alerts__failed_after_runs": 1,
        "alerts__evaluate_every": "1s",
    }
    with LosingTheCommit(dsn, for_good=True) as proxy, Daemon(through(dsn, proxy.port), **settings) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert line["outcome"] == "unknown"
        # so that this run is the last one when the alerts are judged
        stretched.execute("select analytics_refresh.pause('1 hour', 'to look at what is unknown')")
        proxy.thaw()
        daemon.wait_for("database.restored")
        for _ in range(2):
            before = evaluated_at(daemon)
            daemon.until(partial(evaluated_after, daemon, before + 0.5))
        assert not alerts_of(daemon, "AnalyticsRefreshFailed")
        stretched.execute("select analytics_refresh.resume()")
        daemon.wait_for("refresh.finished", ok)
        eventually(lambda: daemon.metric("analytics_history_pending") == 0)
        assert not alerts_of(daemon, "AnalyticsRefreshFailed")
        assert daemon.stop() == 0
    found = "select outcome from analytics_refresh.runs where run_id::text = %s"
    assert value(stretched, found, line["run_id"]) == "unknown"


def test_A02_every_session_terminated(dsn: str, connection: Connection) -> None:
    """With all its sessions terminated at once the daemon leads and refreshes again by itself."""
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", ok)
        end_our_sessions(connection)
        daemon.wait_for("leader.acquired", count=2)
        # the line of a run that was over before may still be on its way
        daemon.wait_for("refresh.finished", ok, count=len(daemon.events("refresh.finished")) + 2)
        assert daemon.stop() == 0
