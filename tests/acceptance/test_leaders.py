"""Two replicas on one database: one refreshes, the other takes over."""

import json
import signal
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.support.daemon import Daemon, Settings, command
from tests.support.faults import age_views, refreshes_under_way, sleeper
from tests.support.installs import make_stretchable, stretch
from tests.support.waiting import eventually

FAST: Settings = {"schedule__interval": "2s", "alerts__stale_for": "0s", "alerts__resolve_after_runs": 1}
SESSION_EXPIRES_SECONDS = 15.0
Connection = psycopg.Connection[Any]

pytestmark = pytest.mark.fault


def roles(*daemons: Daemon) -> list[float | None]:
    """Each replica's leader gauge."""
    return [daemon.metric("analytics_leader") for daemon in daemons]


def running(connection: Connection) -> int:
    """How many sessions refresh at this moment, seen by the fence that each holds."""
    row = connection.execute(
        "select count(*) from pg_locks where locktype = 'advisory' and classid = 2583 and objid = 2 and granted"
        " and database = (select oid from pg_database where datname = current_database())"
    ).fetchone()
    return int(row[0]) if row else 0


@pytest.mark.quick
def test_one_leads_and_the_other_serves(dsn: str) -> None:
    """Exactly one refreshes; the standby is ready, shows the same alerts and pages, and exports no ages."""
    with Daemon(dsn, **FAST, service__replica="one") as one:
        one.wait_for("leader.acquired")
        with Daemon(dsn, **FAST, service__replica="two") as two:
            one.wait_for("refresh.finished", count=3)
            eventually(lambda: two.get("/readyz")[0] == 200)
            assert roles(one, two) == [1, 0]
            assert two.get("/leader")[0] == 503
            assert two.events("refresh.finished") == []
            # it knows the ages from its own evaluation, and says nothing of them
            eventually(lambda: two.metric("analytics_last_evaluation_timestamp_seconds"))
            assert two.metric("analytics_view_age_minutes", view="recent_failures") is None
            eventually(lambda: json.loads(two.get("/status.json")[1])["leader"]["replica"] == "one")
            assert two.stop() == 0
        assert one.stop() == 0


def test_resigning_hands_over_before_the_lock_would_expire(dsn: str) -> None:
    """SIGTERM to the leader: the standby leads long before the server would end a silent leader's session."""
    with Daemon(dsn, **FAST, service__replica="one") as one:
        one.wait_for("leader.acquired")
        with Daemon(dsn, **FAST, service__replica="two") as two:
            eventually(lambda: two.get("/readyz")[0] == 200)
            assert one.stop() == 0
            began, ended = one.wait_for("daemon.stopping"), two.wait_for("leader.acquired")
            took = datetime.fromisoformat(ended["timestamp"]) - datetime.fromisoformat(began["timestamp"])
            assert took < timedelta(seconds=SESSION_EXPIRES_SECONDS)
            two.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
            assert two.stop() == 0


def test_D13_a_killed_leader_is_replaced(dsn: str, connection: Connection) -> None:
    """SIGKILL to the leader in mid-refresh: the standby leads, and never do two refresh at once."""
    make_stretchable(connection)
    with Daemon(dsn, **FAST, service__replica="one") as one:
        one.wait_for("refresh.finished")
        with Daemon(dsn, **FAST, service__replica="two") as two:
            eventually(lambda: two.get("/readyz")[0] == 200)
            stretch(connection, "recent_failures", 1.2)
            eventually(lambda: running(connection) == 1)
            one.process.kill()
            one.process.wait(10)
            stretch(connection, "recent_failures")
            two.wait_for("leader.acquired")
            two.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
            assert running(connection) <= 1
            assert roles(two) == [1]
            assert two.stop() == 0


def test_D14_losing_the_lock_cancels_the_refresh(dsn: str, connection: Connection) -> None:
    """Only the leader's session is terminated: the flag falls first, the refresh is cancelled, and no two overlap."""
    make_stretchable(connection)
    stretch(connection, "recent_failures", 30)
    connection.execute(
        "update analytics_refresh.last_refresh set last_success_at = now() - interval '1 day', "
        "last_checked_at = now() - interval '1 day'"
    )
    with Daemon(dsn, schedule__interval="6h", service__replica="one") as one:
        eventually(lambda: running(connection) == 1)
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name like '%/leader'"
        )
        lost = one.wait_for("leader.lost")
        finished = one.wait_for("refresh.finished")
        assert lost["timestamp"] <= finished["timestamp"]
        assert finished["outcome"] == "cancelled"
        stretch(connection, "recent_failures")
        one.wait_for("leader.acquired", count=2)
        one.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        assert one.stop() == 0


def test_L11_an_evaluation_that_finds_the_lock_lost_does_not_wait_for_the_heartbeat(
    dsn: str, connection: Connection
) -> None:
    """What it judged without the lead is in no log: the page would show it alone until the election asks again."""
    seldom = """
        from analytics_refreshd.app import election
        from analytics_refreshd.core.leadership import Term
        election.HEARTBEAT_SECONDS = 3600.0
        election.Term = lambda: Term(7200.0)
    """
    with Daemon(dsn, broken=seldom, **FAST | {"schedule__interval": "6h", "alerts__evaluate_every": "1s"}) as daemon:
        eventually(lambda: daemon.metric("analytics_last_evaluation_timestamp_seconds"))
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and application_name like '%/leader'"
        )
        age_views(connection)
        daemon.wait_for("leader.lost")
        daemon.wait_for("leader.acquired", count=2)
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        assert daemon.stop() == 0


def test_D14_the_fence_keeps_the_next_leader_out(dsn: str, connection: Connection) -> None:
    """A refresh that no cancel reaches after its replica lost the lock is waited for: never do two refresh at once."""
    make_stretchable(connection)
    age_views(connection)
    stretch(connection, "recent_failures", 60)
    deaf = """
        import threading
        from analytics_refreshd.postgres.state.leader import PostgresLeader
        from analytics_refreshd.postgres.refresh.refresher import PostgresRefresher
        acquire, calls = PostgresLeader.acquire, []
        def once(self):
            calls.append(1)
            if len(calls) > 1:
                threading.Event().wait()
            return acquire(self)
        PostgresLeader.acquire = once
        PostgresRefresher.cancel = lambda self: None
    """
    most = 0
    with Daemon(dsn, broken=deaf, schedule__interval="6h", service__replica="one") as one:
        busy = eventually(lambda: sleeper(connection))
        stretch(connection, "recent_failures")
        with Daemon(dsn, **FAST, service__replica="two") as two:
            eventually(lambda: two.get("/readyz")[0] == 200)
            connection.execute(
                "select pg_terminate_backend(l.pid) from pg_locks l where l.locktype = 'advisory' and l.classid = 2583"
                " and l.objid = 1 and l.granted"
                " and l.database = (select oid from pg_database where datname = current_database())"
            )

            def tried() -> object:
                nonlocal most
                most = max(most, refreshes_under_way(connection))
                return two.events("refresh.finished")

            one.wait_for("leader.lost")
            two.until(tried)
            assert {line["reason"] for line in two.events("refresh.finished")} == {"overlap"}
            assert sleeper(connection) == busy
            assert most == 1
            connection.execute("select pg_cancel_backend(%s)", (busy,))
            two.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
            assert two.stop() == 0


def test_F07_a_new_leader_adopts_what_fires(dsn: str, connection: Connection) -> None:
    """A change of leader while an alert fires: one firing line in all, no resolve until it is true."""
    make_stretchable(connection)
    stretch(connection, "recent_failures", message="boom", sqlstate="42501")

    def about(daemon: Daemon) -> list[dict[str, Any]]:
        return [line for line in daemon.lines if line.get("alert") == "AnalyticsRefreshFailed"]

    with Daemon(dsn, **FAST, service__replica="one") as one:
        fired = one.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsRefreshFailed")
        with Daemon(dsn, **FAST, service__replica="two") as two:
            eventually(
                lambda: (
                    two.metric("analytics_alerts_firing", alert="AnalyticsRefreshFailed", view="recent_failures") == 1
                )
            )
            one.process.send_signal(signal.SIGKILL)
            one.process.wait(10)
            two.wait_for("refresh.finished", count=2)
            assert about(two) == []
            stretch(connection, "recent_failures")
            resolved = two.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsRefreshFailed")
            assert resolved["active_at"] == fired["active_at"]
            assert two.stop() == 0


def test_D15_a_stranger_on_the_lock_is_named(dsn: str, connection: Connection) -> None:
    """Another session holds the leader lock: it is named in the log, nobody refreshes, and NoLeader fires."""
    with psycopg.connect(dsn, autocommit=True, application_name="curious") as stranger:
        stranger.execute("select pg_advisory_lock(2583, 1)")
        with Daemon(dsn, **FAST, alerts__no_leader_for="1s") as daemon:
            blocked = daemon.wait_for("election.blocked")
            assert "curious" in str(blocked["holder"])
            assert blocked["holder_pid"] == stranger.info.backend_pid
            fired = daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsNoLeader")
            assert "curious" in fired["description"]
            assert daemon.get("/readyz")[0] == 503
            assert daemon.events("refresh.finished") == []
            assert command(dsn, "status", **FAST).stdout.count("not one of our daemons") == 1
            stranger.execute("select pg_advisory_unlock_all()")
            daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
            daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsNoLeader")
            assert daemon.stop() == 0
