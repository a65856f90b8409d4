"""The daemon does what operators ask for: at once, once, and it says what became of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.test_migrate_roles import psql
from tests.support.api import Api, api_role, make_key
from tests.support.daemon import Daemon, Settings
from tests.support.faults import Connection, as_role, value
from tests.support.installs import temporary_role
from tests.support.requests import ask, ended, expire, state_of
from tests.support.waiting import eventually

RARELY: Settings = {"schedule__interval": "6h", "alerts__evaluate_every": "1h"}
"""No slot begins during a test, and between two evaluations only a notification is heard."""
OFTEN: Settings = {"schedule__interval": "6h", "alerts__evaluate_every": "500ms"}
"""Nobody waits for the heartbeat that brings a notification."""
UNFINISHED = "select count(*) from analytics_refresh.runs where finished_at is null"


@contextmanager
def holding(dsn: str) -> Iterator[None]:
    """Keep a refresh from ending."""
    with psycopg.connect(dsn) as holder:
        holder.execute("lock table action_results in access exclusive mode")
        yield
        holder.rollback()


@pytest.mark.slow
def test_the_leader_does_what_is_asked(dsn: str, connection: Connection) -> None:
    """It hears of it at once, refreshes and pauses by the code of the commands, and names who asked."""
    with Daemon(dsn, **RARELY) as daemon:
        daemon.wait_for("leader.acquired")
        refresh = ask(connection, "refresh", reason="a report is due")
        found = eventually(lambda: ended(connection, refresh))
        run_id = found["run_id"]
        run = connection.execute("select origin, outcome from analytics_refresh.runs where run_id = %s", [run_id])
        assert (found["outcome"], found["joined"], run.fetchone()) == ("ok", False, ("command", "ok"))
        taken = daemon.wait_for("operator.request_taken")
        assert (taken["actor"], taken["reason_text"], taken["run_id"]) == ("key_1", "a report is due", str(run_id))
        pause = ask(connection, "pause", actor="user:ann", reason="import", length="2 hours")
        until = eventually(lambda: ended(connection, pause))["paused_until"]
        paused = daemon.wait_for("refresh.paused")
        assert (paused["reason_text"], paused["created_by"]) == ("import", "user:ann")
        second = ask(connection, "refresh", actor="key_2")
        refused = eventually(lambda: ended(connection, second))
        assert (refused["outcome"], refused["detail"]) == ("skipped", "paused")
        end = ask(connection, "resume", actor="user:ann")
        resumed = eventually(lambda: ended(connection, end))
        assert (resumed["outcome"], resumed["pauses_ended"]) == ("ok", 1)
        daemon.wait_for("refresh.resumed")
        assert value(connection, "select ended_at < %s from analytics_refresh.pauses", until)
        assert daemon.metric("analytics_operator_requests_total", kind="pause", outcome="ok") == 1
        assert daemon.metric("analytics_operator_requests_total", kind="refresh", outcome="skipped") == 1
        assert daemon.metric("analytics_operator_requests_total", kind="resume", outcome="failed") == 0
        assert not daemon.events("part.failed")
        assert daemon.stop() == 0


@pytest.mark.slow
def test_a_refresh_that_is_asked_for_joins_one_under_way(dsn: str, connection: Connection) -> None:
    """Two requests have one run, and each has its end."""
    with Daemon(dsn, **OFTEN) as daemon:
        daemon.wait_for("leader.acquired")
        with holding(dsn):
            first = ask(connection, "refresh")
            eventually(lambda: state_of(connection, first)["state"] == "running")
            eventually(lambda: value(connection, "select exists (select from pg_locks where not granted)"))
            second = ask(connection, "refresh", actor="key_2")
            eventually(lambda: state_of(connection, second)["state"] == "running")
        found = [eventually(partial(ended, connection, one)) for one in (first, second)]
        assert [one["joined"] for one in found] == [False, True]
        assert [one["outcome"] for one in found] == ["ok", "ok"]
        assert found[0]["run_id"] == found[1]["run_id"]
        assert len(daemon.events("refresh.finished")) == 1
        assert daemon.stop() == 0


@pytest.mark.slow
def test_P16_what_nobody_took_expires(dsn: str, connection: Connection) -> None:
    """A leader that comes later does not do it any more, says so, and counts it."""
    late, waiting = ask(connection, "pause", reason="import", length="2 hours"), ask(connection, "refresh")
    expire(connection, late)
    with Daemon(dsn, **RARELY) as daemon:
        line = daemon.wait_for("operator.request_ended", lambda line: line["outcome"] == "expired")
        assert (line["kind"], line["level"], line["request_id"]) == ("pause", "warning", str(late))
        assert eventually(lambda: ended(connection, waiting))["outcome"] == "ok"
        assert daemon.metric("analytics_operator_requests_total", kind="pause", outcome="expired") == 1
        assert value(connection, "select count(*) from analytics_refresh.pauses") == 0
        assert daemon.stop() == 0


@pytest.mark.fault
@pytest.mark.nightly
def test_P16_a_killed_leader_leaves_no_request_open(dsn: str, connection: Connection) -> None:
    """It is over with the run that history closes as abandoned, and nobody does it a second time."""
    with Daemon(dsn, **RARELY, service__replica="one") as one:
        one.wait_for("leader.acquired")
        with Daemon(dsn, **OFTEN, service__replica="two") as two:
            eventually(lambda: two.get("/readyz")[0] == 200)
            with holding(dsn):
                request_id = ask(connection, "refresh")
                run_id = eventually(lambda: state_of(connection, request_id)["run_id"])
                eventually(lambda: value(connection, UNFINISHED))
                one.process.kill()
                one.process.wait(10)
                two.wait_for("leader.acquired")
                found = eventually(lambda: ended(connection, request_id), within=90)
            assert (found["run_id"], found["outcome"], found["detail"]) == (run_id, "unknown", "abandoned")
            assert not two.events("operator.request_taken")
            assert two.stop() == 0


@pytest.mark.slow
def test_an_operator_asks_over_http(dsn: str, connection: Connection, tmp_path: Path) -> None:
    """From the API's role to the daemon's, each with its own grants alone: what was asked is done, and told."""
    with temporary_role(connection) as role, api_role(dsn, connection, tmp_path) as (own, secret):
        psql(dsn, "grants.sql", "-v", f"role={role}")
        key = make_key(dsn, "--all-organizations", "--operator")
        with Daemon(as_role(dsn, role), **OFTEN) as daemon, Api(own, secret) as api:
            daemon.wait_for("leader.acquired")

            def done(kind: str, **members: object) -> dict[str, Any]:
                """Ask, and wait for the end."""
                place = api.post(kind, key, members=members).headers["location"]
                return eventually(lambda: over(api.ask(place, key).json["data"]))

            refreshed = done("refresh", reason="a report is due")
            assert (refreshed["state"], refreshed["outcome"], refreshed["leader"]) == ("ended", "ok", True)
            assert daemon.wait_for("refresh.finished")["run_id"] == refreshed["run_id"]
            paused = done("pause", reason="import", **{"for": "2h"})
            assert daemon.wait_for("refresh.paused")["created_by"] == paused["actor"]
            assert paused["paused_until"] is not None
            assert done("resume")["pauses_ended"] == 1
            daemon.wait_for("refresh.resumed")
            assert not daemon.events("part.failed")
            assert (api.stop(), daemon.stop()) == (0, 0)


def over(data: dict[str, Any]) -> dict[str, Any] | None:
    """The state of a request, once it is over."""
    return data if data["state"] in ("ended", "expired") else None
