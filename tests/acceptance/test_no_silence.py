"""The daemon where it could fall silent: other encodings, parts that fail, an evaluation that does not end."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.evaluating import stuck_seconds
from analytics_refreshd.postgres.connection.connector import Profile
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.adapters import address, connector, through
from tests.support.daemon import Daemon, command
from tests.support.faults import FAST, FaultServer, act, as_role, down, fired, hung, least_role, value
from tests.support.installs import make_stretchable, stretch
from tests.support.postgres import Server
from tests.support.proxy import Proxy
from tests.support.receivers import Receiver, receiver
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def to(hook: Receiver) -> dict[str, Any]:
    """Settings that deliver to a webhook."""
    return {"receivers__hook__type": "webhook", "receivers__hook__url": hook.url}


def told(hook: Receiver) -> set[tuple[str, str]]:
    """What the webhook was told: pairs of alert and status."""
    return {(one["alert"], one["status"]) for got in list(hook.got) for one in got.alerts}


@pytest.fixture(scope="module")
def encoded() -> Iterator[Server]:
    """One with databases of other encodings."""
    made = Server().start()
    with made.connect() as admin:
        for encoding in ("latin1", "sql_ascii"):
            admin.execute(f"create database {encoding} template template0 encoding '{encoding}' locale 'C'")
    yield made
    made.destroy()


@pytest.mark.parametrize("encoding", [pytest.param("latin1", marks=pytest.mark.quick), "sql_ascii"])
def test_L10_a_database_of_another_encoding_hears_and_tells_all(encoded: Server, encoding: str) -> None:
    """Views are refreshed, and history and webhooks have every failure, whatever characters its text has."""
    dsn = encoded.dsn(encoding)
    create_application(dsn)
    with connector(dsn).connect("migrate", Profile()) as ours:
        migrate(ours)
    with psycopg.connect(dsn, autocommit=True, client_encoding="UTF8") as admin, receiver() as hook:
        make_stretchable(admin)
        admin.execute(f"alter database {encoding} set datestyle = 'German'")
        stretch(admin, "recent_failures", message="caf\u00e9 " + "x" * 2000)
        with Daemon(dsn, **FAST, **to(hook)) as daemon:
            line = fired(daemon, "AnalyticsRefreshFailed", "recent_failures")
            assert "caf\u00e9" in line["description"] or encoding == "sql_ascii"
            daemon.until(lambda: ("AnalyticsRefreshFailed", "firing") in told(hook))
            stretch(admin, "recent_failures")
            daemon.until(lambda: ("AnalyticsRefreshFailed", "resolved") in told(hook))
            daemon.wait_for("refresh.finished", ok)
            assert daemon.stop() == 0
        assert value(admin, "select count(*) from analytics_refresh.runs where outcome is null") == 0
        assert value(admin, "select count(*) from analytics_refresh.runs where outcome = 'partial' and error <> ''") > 0
        assert daemon.events("history.pending") == []
        assert daemon.events("part.failed") == []


def test_L11_an_evaluation_that_hangs_is_told_of(dsn: str, tmp_path: Path) -> None:
    """The main loop tells of it, in log, gauge and webhook; what fires is repeated; it resolves when it goes on."""
    hold = tmp_path / "hold"
    broken = f"""
        import pathlib, time
        from analytics_refreshd.app.alerts import AlertEvaluator
        look = AlertEvaluator.log_stale_views
        def hanging(self):
            while pathlib.Path({str(hold)!r}).exists():
                time.sleep(0.05)
            look(self)
        AlertEvaluator.log_stale_views = hanging
    """
    with receiver() as hook, Daemon(dsn, broken=broken, **FAST, **to(hook)) as daemon:
        daemon.wait_for("refresh.finished", ok)
        hold.touch()
        fired(daemon, "AnalyticsEvaluationStuck")
        assert daemon.metric("analytics_alerts_firing", alert="AnalyticsEvaluationStuck") == 1
        assert (daemon.metric("analytics_evaluation_silent_seconds") or 0) > stuck_seconds(2.0)
        daemon.until(lambda: ("AnalyticsEvaluationStuck", "firing") in told(hook))
        assert daemon.get("/livez")[0] == 200
        hold.unlink()
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsEvaluationStuck")
        daemon.until(lambda: ("AnalyticsEvaluationStuck", "resolved") in told(hook))
        assert daemon.stop() == 0


def test_L11_an_evaluation_whose_parts_raise_goes_on(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """A reading that raises, and a store that refuses, keep no alert from being told."""
    broken = """
        from analytics_refreshd.postgres.state.alerts import PostgresAlertStore
        from analytics_refreshd.postgres.state.status import PostgresStatusReader
        def failing(self, *given, **named):
            raise NotImplementedError("can't parse timestamptz")
        PostgresAlertStore.save = failing
        PostgresStatusReader.pause = failing
        PostgresStatusReader.delta = failing
    """
    make_stretchable(connection)
    stretch(connection, "recent_failures", message="broken")
    with receiver() as hook, Daemon(dsn, broken=broken, **FAST, **to(hook)) as daemon:
        fired(daemon, "AnalyticsRefreshFailed", "recent_failures")
        daemon.until(lambda: ("AnalyticsRefreshFailed", "firing") in told(hook))
        # a run reads the pause, too
        assert {line["part"] for line in daemon.events("part.failed")} == {"alert_store", "delta", "pause"}
        assert (daemon.metric("analytics_part_failures_total", part="delta") or 0) >= 1
        assert daemon.stop() == 0


def stale(daemon: Daemon) -> list[dict[str, Any]]:
    """The lines that say a view was stale."""
    return [line for line in daemon.events("alert.firing") if line["alert"] == "AnalyticsViewStale"]


@pytest.mark.parametrize(
    "table",
    ["runs", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("last_refresh", "alerts", "installation"))],
)
def test_L12_a_lock_on_our_own_tables_makes_no_view_stale(
    dsn: str, connection: psycopg.Connection[Any], table: str
) -> None:
    """While a table of ours is locked the views are refreshed, and all know it; nobody is paged but for history."""
    with Daemon(dsn, **(FAST | {"schedule__interval": "5s", "staleness__max_age": "15s"})) as daemon:
        daemon.wait_for("refresh.finished", ok, count=2)
        known = len(stale(daemon))  # of views that were old at the start
        with psycopg.connect(dsn) as holder:
            holder.execute(f"lock table analytics_refresh.{table} in access exclusive mode")
            before = len([*filter(ok, daemon.events("refresh.finished"))])
            daemon.wait_for("refresh.finished", ok, count=before + 4)
            shown = json.loads(daemon.get("/status.json")[1])
            assert {view["verdict"] for view in shown["views"]} <= {"fresh", "late"}
            assert shown["database_up"] is True
            holder.rollback()
        assert len(stale(daemon)) == known
        fired_here = {line["alert"] for line in daemon.events("alert.firing")}
        assert fired_here <= {"AnalyticsViewStale", "AnalyticsHistoryFailing"}
        daemon.until(lambda: daemon.metric("analytics_history_pending") == 0)
        assert daemon.stop() == 0
    assert value(connection, "select count(*) from analytics_refresh.runs where outcome = 'ok'") >= 5


def test_L13_a_lock_on_a_view_is_told_as_a_lock(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """Who waits for it says so, and for whom; the contract is not broken, and `check` finds the same."""
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", ok)
        with psycopg.connect(make_conninfo(dsn, application_name="nightly-etl")) as holder:
            holder.execute("refresh materialized view recent_failures")
            line = daemon.wait_for("part.failed", lambda line: line["part"] == "status_function")
            assert "waits for a lock on recent_failures: it waits on pid" in line["error"]
            assert "nightly-etl" in line["error"]
            shown = json.loads(daemon.get("/status.json")[1])
            assert "nightly-etl" in shown["problem"]
            # more readings than a broken function may have
            misses = daemon.metric("analytics_part_failures_total", part="status_function") or 0
            daemon.until(
                lambda: (daemon.metric("analytics_part_failures_total", part="status_function") or 0) >= misses + 4,
                within=150.0,
            )
            found = command(dsn, "check", "--format", "json")
            told_of = [each for each in json.loads(found.stdout) if each["name"] == "status"]
            assert [each["level"] for each in told_of] == ["warning"]
            assert "nightly-etl" in told_of[0]["text"]
            status = json.loads(command(dsn, "status", "--format", "json").stdout)
            assert "nightly-etl" in status["problem"]
            holder.rollback()
        daemon.until(lambda: json.loads(daemon.get("/status.json")[1])["problem"] is None)
        assert not [line for line in daemon.events("alert.firing") if line["alert"] == "AnalyticsContractBroken"]
        assert daemon.stop() == 0


def test_L13_check_calls_the_status_function(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """One that looks right and fails when called is an error, with what it said."""
    connection.execute(
        "create or replace function get_analytics_refresh_status() returns table (view_name text, row_count bigint,"
        " size_bytes bigint, last_refresh timestamptz, age_minutes integer) language plpgsql as"
        " $$ begin raise exception 'no such number' using errcode = '22003'; end $$"
    )
    found = command(dsn, "check", "--format", "json")
    assert found.returncode == 1
    told_of = [each for each in json.loads(found.stdout) if each["name"] == "status"]
    assert [(each["level"], "no such number" in each["text"]) for each in told_of] == [("error", True)]


@pytest.mark.nightly
@pytest.mark.parametrize("seconds", [pytest.param(45.0, id="45 s"), pytest.param(600.0, id="10 min")])
@pytest.mark.parametrize("trouble", ["hung", "down", "blackholed"])
def test_L11_L16_no_server_restarts_the_daemon(fault_server: FaultServer, trouble: str, seconds: float) -> None:
    """Evaluations go on within their period, so nothing is stuck, and a probe finds the process alive throughout."""
    server = fault_server.server
    settings: dict[str, Any] = {"schedule__interval": "10s", "alerts__database_unavailable_for": "10s"}
    with Proxy(address(fault_server.dsn)) as proxy:
        with Daemon(through(fault_server.dsn, proxy.port), **settings) as daemon:
            daemon.wait_for("refresh.finished", ok)
            longest = 0.0
            with ExitStack() as stack:
                if trouble == "blackholed":
                    proxy.freeze()
                    stack.callback(proxy.thaw)
                else:
                    stack.enter_context(hung(server) if trouble == "hung" else down(server))
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    assert daemon.get("/livez")[0] == 200
                    longest = max(longest, daemon.metric("analytics_evaluation_silent_seconds") or 0.0)
                    time.sleep(0.5)
                fired(daemon, "AnalyticsDatabaseUnavailable")
            # a period of 10 s and an evaluation of at most as long; three periods would be stuck
            assert longest < stuck_seconds(10.0)
            daemon.wait_for("database.restored")
            daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsDatabaseUnavailable")
            assert not [line for line in daemon.events("alert.firing") if line["alert"] == "AnalyticsEvaluationStuck"]
            assert daemon.stop() == 0


def _change(connection: psycopg.Connection[Any], statement: sql.Composed) -> None:
    """Change a right, again where a refresh changes the view's row of pg_class at that moment."""

    def changed() -> bool:
        try:
            connection.execute(statement)
        except psycopg.errors.InternalError_:
            return False
        return True

    eventually(changed)


def test_L06_a_success_rate_that_cannot_be_read_is_not_shown(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """Without the grant its gauge ends, one line and the alert name the grant, and with it all is as before."""
    act(connection, "a", "success")
    with least_role(connection) as role, Daemon(as_role(dsn, role), **FAST) as daemon:
        daemon.until(lambda: daemon.metric("analytics_success_rate_percent") == 100)
        _change(connection, sql.SQL("revoke select on action_metrics_hourly from {}").format(sql.Identifier(role)))
        line = fired(daemon, "AnalyticsContractBroken")
        assert "GRANT SELECT ON" in line["description"]
        assert "action_metrics_hourly" in line["description"]
        daemon.until(lambda: daemon.metric("analytics_success_rate_percent") is None)
        assert daemon.metric("analytics_latency_p95_seconds") is None
        assert len([line for line in daemon.events("part.failed") if line["part"] == "rates"]) == 1
        _change(connection, sql.SQL("grant select on action_metrics_hourly to {}").format(sql.Identifier(role)))
        daemon.until(lambda: daemon.metric("analytics_success_rate_percent") == 100)
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsContractBroken")
        assert daemon.stop() == 0
