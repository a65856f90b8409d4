"""One status document: what a daemon serves and what `status` prints of one database, in eight situations.

Each pair is held against the published schema, and every field that both sides know against the other side's.
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from tests.support.adapters import holding_refresh
from tests.support.daemon import Daemon, Settings, command
from tests.support.faults import FAST, Connection, FaultServer, act, age_views, fired
from tests.support.installs import install_older, make_stretchable, stretch
from tests.support.status_schema import conforming

LONG: Settings = {"schedule__interval": "6h", "alerts__evaluate_every": "1s"}
MEMORY_ONLY = ("replica", "role", "next_run_at", "receivers")


def served(daemon: Daemon, until: Callable[[Any], object]) -> Any:
    """The daemon's document, once it tells what is waited for."""
    seen: list[Any] = []

    def told() -> bool:
        status, text = daemon.get("/status.json")
        assert status == 200
        seen.append(conforming(json.loads(text)))
        return bool(until(seen[-1]))

    daemon.until(told)
    assert (seen[-1]["source"], None in [seen[-1][name] for name in ("replica", "role")]) == ("memory", False)
    return seen[-1]


def fresh(seen: Any) -> bool:
    """Whether every view is fresh and no alert is left: an evaluation may have read their ages before the refresh."""
    return {view["verdict"] for view in seen["views"]} == {"fresh"} and seen["alerts"] == []


def printed(dsn: str, exit_code: int, **settings: Any) -> Any:
    """What the command prints, which knows nothing of any process."""
    done = command(dsn, "status", "--format", "json", **settings)
    assert done.returncode == exit_code, done.stderr
    document = conforming(json.loads(done.stdout))
    assert document["healthy"] is (exit_code == 0)
    assert document["source"] == "database"
    assert [document[name] for name in MEMORY_ONLY] == [None] * len(MEMORY_ONLY)
    assert document["history"]["pending"] is None
    return document


def same(of_daemon: Any, of_database: Any, *names: str) -> None:
    """Both know these, and tell the same of them."""
    common = ("database", "version", "healthy", "mode", "isolation", "problem", "interval_seconds", "database_up")
    for name in (*common, *names):
        assert of_daemon[name] == of_database[name], name


@pytest.mark.quick
def test_fresh(dsn: str, connection: Connection) -> None:
    """A leader on an ordinary day: nothing is unusual, and both tell the same runs."""
    age_views(connection)
    with Daemon(dsn, **LONG) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        served(daemon, fresh)
        of_database = printed(dsn, 0, **LONG)
        runs = [view["last_run"] for view in of_database["views"]]
        # until it reads the record again, the daemon dates its own run by its own clock
        of_daemon = served(daemon, lambda seen: fresh(seen) and [view["last_run"] for view in seen["views"]] == runs)
        same(of_daemon, of_database, "headline", "rates", "leader", "alerts", "delta", "pause", "progress")
        for one, other in zip(of_daemon["views"], of_database["views"], strict=True):
            for name in ("view", "rows", "size_bytes", "last_run", "recent", "max_age_seconds"):
                assert one[name] == other[name], name
            # until it reads the record again, the daemon dates its own success by the end of the run
            successes = [datetime.fromisoformat(each["last_success_at"]) for each in (one, other)]
            assert abs(successes[0] - successes[1]) < timedelta(seconds=30)
        assert of_daemon["notices"] == of_database["notices"] == []
        assert of_daemon["role"] == "leader"
        assert daemon.stop() == 0


def test_stale(dsn: str, connection: Connection) -> None:
    """Another program holds the leader lock, so that nothing is refreshed: both say who, and how old the views are."""
    age_views(connection)
    with psycopg.connect(dsn, autocommit=True, application_name="curious") as other:
        other.execute("select pg_advisory_lock(2583, 1)")
        with Daemon(dsn, **LONG) as daemon:
            of_daemon = served(daemon, lambda seen: seen["leader"] and seen["evaluated_seconds_ago"] is not None)
            of_database = printed(dsn, 1, **LONG)
            same(of_daemon, of_database, "headline", "leader")
            assert of_daemon["leader"]["ours"] is False
            assert {view["verdict"] for view in (*of_daemon["views"], *of_database["views"])} == {"stale"}
            assert of_daemon["role"] == "standby"
            assert daemon.stop() == 0


def test_database_away(fault_server: FaultServer) -> None:
    """The daemon tells of it from memory, with the ages growing; the command says so and prints no document."""
    with Daemon(fault_server.dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        served(daemon, lambda seen: seen["database_up"] and seen["views"][0]["age_seconds"] is not None)
        fault_server.server.stop()
        of_daemon = served(daemon, lambda seen: not seen["database_up"])
        assert None not in (of_daemon["database_down_since"], of_daemon["database_error"])
        assert (of_daemon["healthy"], of_daemon["views"][0]["age_seconds"] > 0) == (False, True)
        done = command(fault_server.dsn, "status", "--format", "json")
        assert (done.returncode, done.stdout) == (75, "")


def test_paused(dsn: str, connection: Connection) -> None:
    """Both tell the pause in force with its begin, end, reason and author."""
    age_views(connection)
    with Daemon(dsn, **LONG) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        assert command(dsn, "pause", "--for", "1h", "--reason", "nightly load").returncode == 0
        of_daemon = served(daemon, lambda seen: seen["pause"] is not None and fresh(seen))
        of_database = printed(dsn, 0, **LONG)
        same(of_daemon, of_database, "pause", "headline", "notices")
        assert of_daemon["pause"]["reason"] == "nightly load"
        assert daemon.stop() == 0


def test_running_with_a_blocker(dsn: str, connection: Connection) -> None:
    """Both name the run, its view and the session that it waits for; only the leader knows since when it is there."""
    age_views(connection)
    settings: Settings = LONG | {"refresh__lock_timeout": "2m"}
    with holding_refresh(dsn, VIEWS[0]) as holder, Daemon(dsn, **settings) as daemon:
        of_daemon = served(daemon, lambda seen: seen["progress"] and seen["progress"]["blocker"])
        of_database = printed(dsn, 1, **settings)
        for name in ("run_id", "view"):
            assert of_daemon["progress"][name] == of_database["progress"][name]
        for seen in (of_daemon, of_database):
            assert seen["progress"]["blocker"]["pid"] == holder.info.backend_pid
            assert "on pid" in seen["progress"]["blocker"]["text"]
        assert of_daemon["progress"]["view_seconds"] is not None
        assert of_database["progress"]["view_seconds"] is None
        holder.rollback()
        daemon.wait_for("refresh.finished")
        assert daemon.stop() == 0


def test_incremental_with_deltas_waiting(dsn: str, connection: Connection) -> None:
    """Both tell the mode, and how many changes wait for the next fold."""
    incremental.install(connection)
    age_views(connection)
    with Daemon(dsn, **LONG) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        act(connection, "one")
        of_daemon = served(daemon, lambda seen: fresh(seen) and seen["delta"]["pending_rows"])
        of_database = printed(dsn, 0, **LONG)
        same(of_daemon, of_database, "delta")
        assert (of_daemon["mode"], of_daemon["delta"]["pending_rows"]) == ("incremental", 1)
        assert daemon.stop() == 0


def test_firing(dsn: str, connection: Connection) -> None:
    """Both tell the alert by the same record, and the failure that it is about."""
    make_stretchable(connection)
    stretch(connection, VIEWS[2], message="no such thing", sqlstate="42P01")
    age_views(connection)
    with Daemon(dsn, **LONG) as daemon:
        fired(daemon, "AnalyticsRefreshFailed", VIEWS[2])
        failing = [("AnalyticsRefreshFailed", VIEWS[2], "firing")]
        of_database = printed(dsn, 1, **LONG)
        run = of_database["views"][2]["last_run"]
        # until it reads the record again, the daemon dates its own run by its own clock
        of_daemon = served(
            daemon,
            lambda seen: (
                failing[0] in [(one["alert"], one["view"], one["state"]) for one in seen["alerts"]]
                and seen["views"][2]["last_run"] == run
            ),
        )
        records = [
            [one for one in seen["alerts"] if one["alert"] == "AnalyticsRefreshFailed"]
            for seen in (of_daemon, of_database)
        ]
        assert records[0] == records[1] != []
        assert of_daemon["views"][2]["last_error"] == of_database["views"][2]["last_error"]
        assert (run["sqlstate"], of_database["healthy"]) == ("42P01", False)
        assert daemon.stop() == 0


def test_an_older_install_without_history(application_dsn: str) -> None:
    """Only the daemon knows what it did itself; to the command the ages are unknown. Both say that nothing is kept."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        install_older(connection)
    with Daemon(application_dsn, **LONG) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        of_daemon = served(daemon, fresh)
        of_database = printed(application_dsn, 1, **LONG)
        assert {view["verdict"] for view in of_database["views"]} == {"unknown"}
        assert {view["doubt"] for view in of_database["views"]} == {"the status function knows no last refresh"}
        for seen in (of_daemon, of_database):
            assert seen["history"]["available"] is False
            assert "Runs and alerts are not stored" in " ".join(notice["text"] for notice in seen["notices"])
        assert daemon.stop() == 0


@pytest.mark.parametrize("words", [("status",), ("status", "--format", "json")])
def test_a_status_function_that_fails_is_a_problem_and_no_crash(
    dsn: str, connection: Connection, words: tuple[str, ...]
) -> None:
    """What the views are is still told by our own record."""
    # the template's own refresh may be older than the limit by now
    connection.execute("select * from public.refresh_action_analytics()")
    connection.execute("drop function public.get_analytics_refresh_status()")
    done = command(dsn, *words)
    assert done.returncode == 0
    assert "get_analytics_refresh_status() failed" in done.stdout
