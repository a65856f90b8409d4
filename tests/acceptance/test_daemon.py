"""The daemon as a process, on a real database: what an on-call engineer relies on."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.adapters import holding_refresh
from tests.support.daemon import Daemon, Settings, command
from tests.support.faults import refreshes_under_way, sleeper, value
from tests.support.installs import install_older, make_stretchable, stretch
from tests.support.postgres import Server
from tests.support.waiting import eventually

VIEWS = ["action_metrics_hourly", "trigger_performance_summary", "recent_failures", "action_type_distribution"]
FAST: Settings = {"schedule__interval": "2s", "alerts__stale_for": "0s", "alerts__resolve_after_runs": 1}
LONG: Settings = {"schedule__interval": "6h"}

Connection = psycopg.Connection[Any]


@pytest.fixture
def stretchable(connection: Connection) -> Connection:
    """A migrated database whose views can be held."""
    make_stretchable(connection)
    return connection


@pytest.fixture
def older_dsn(application_dsn: str) -> str:
    """A database that carries an older install, and nothing of ours."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        install_older(connection)
        make_stretchable(connection)
    return application_dsn


@pytest.fixture
def aged(connection: Connection) -> Connection:
    """A migrated database whose views were last refreshed a day ago."""
    connection.execute(
        "update analytics_refresh.last_refresh set last_success_at = now() - interval '1 day', "
        "last_checked_at = now() - interval '1 day'"
    )
    return connection


def test_refreshes_records_and_reports(dsn: str, connection: Connection) -> None:
    """Three cycles: each one line, each a row with four views, and figures on every path."""
    with Daemon(dsn, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=3)
        assert [view["view"] for view in line["views"]] == VIEWS
        assert all(view["success"] and view["seconds"] >= 0 for view in line["views"])
        assert daemon.get("/livez")[0] == 200
        assert daemon.get("/readyz")[0] == 200
        assert daemon.get("/leader")[0] == 200
        assert (daemon.metric("analytics_runs_total", outcome="ok") or 0) >= 3
        daemon.until(lambda: (daemon.metric("analytics_view_age_minutes", view="recent_failures") or 9) < 1)
        assert daemon.metric("analytics_leader") == 1
        assert daemon.metric("analytics_database_up") == 1
        assert daemon.stop() == 0
    assert value(connection, "select count(*) from analytics_refresh.runs where outcome = 'ok'") >= 3
    assert value(
        connection,
        "select count(*) from analytics_refresh.view_results where success and duration_seconds is not null",
    ) == 4 * value(connection, "select count(*) from analytics_refresh.runs where outcome = 'ok'")
    assert value(connection, "select count(*) from pg_stat_activity where application_name like 'analytics-refreshd/%%'"
                 " and datname = current_database()") == 0  # fmt: skip


def test_every_line_is_one_json_object(dsn: str) -> None:
    """Nothing but JSON on stderr, each line with timestamp, level, event and database."""
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", count=2)
        assert daemon.stop() == 0
        for raw in daemon.raw:
            line = json.loads(raw)
            assert {"timestamp", "level", "event", "database"} <= set(line), raw
            assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None


def test_first_run_waits_when_views_are_young(dsn: str) -> None:
    """Views younger than the interval are left until the next slot."""
    assert command(dsn, "refresh").returncode == 0
    with Daemon(dsn, **LONG) as daemon:
        daemon.wait_for("leader.acquired")
        daemon.until(lambda: daemon.metric("analytics_view_age_minutes", view="recent_failures") is not None)
        assert daemon.stop() == 0
        assert daemon.events("refresh.finished") == []


@pytest.mark.quick
def test_first_run_comes_at_once_when_views_are_old(dsn: str, aged: Connection) -> None:
    """Views older than the interval are refreshed at once, not at the next slot."""
    with Daemon(dsn, **LONG) as daemon:
        assert daemon.wait_for("refresh.finished")["outcome"] == "ok"


def test_an_alert_fires_when_its_time_has_come(dsn: str, aged: Connection, stretchable: Connection) -> None:
    """And not with the evaluation after that, which may be minutes later."""
    stretch(stretchable, "recent_failures", 60)
    settings: Settings = {"schedule__interval": "10m", "alerts__evaluate_every": "5m", "alerts__stale_for": "2s"}
    with Daemon(dsn, **settings) as daemon:
        daemon.wait_for("alert.pending", lambda line: line["alert"] == "AnalyticsViewStale")
        daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsViewStale")
        assert daemon.stop() == 0


@pytest.mark.fault
def test_D02_sigterm_during_a_refresh(dsn: str, aged: Connection, stretchable: Connection) -> None:
    """The statement is cancelled, the run recorded as cancelled, exit 0 within ten seconds, and no alert."""
    stretch(stretchable, "recent_failures", 60)
    with Daemon(dsn, **LONG) as daemon:
        eventually(lambda: sleeper(stretchable) is not None)
        assert daemon.stop() == 0
        line = daemon.events("refresh.finished")[-1]
        assert (line["outcome"], line["reason"]) == ("cancelled", "shutdown")
        # by a cancel that the server took, not by leaving the connection
        assert line["sqlstate"] == "57014"
        assert daemon.events("shutdown.forced") == []
        assert daemon.events("alert.firing") == []
        assert daemon.events("daemon.stopped")
    eventually(lambda: not refreshes_under_way(stretchable))
    assert value(stretchable, "select outcome from analytics_refresh.runs") == "cancelled"
    assert value(stretchable, "select count(*) from analytics_refresh.view_results where success") == 0


def test_without_a_database_it_stays_up_unready_and_recovers() -> None:
    """Unreachable at start: live, not ready and saying why; it refreshes by itself once the database is there."""
    server = Server()
    server.initdb()
    try:
        with Daemon(server.dsn(), **FAST) as daemon:
            daemon.wait_for("database.lost")
            assert daemon.get("/livez")[0] == 200
            status, why = daemon.get("/readyz")
            assert status == 503
            assert "database" in why
            server.start()
            from tests.conftest import create_application

            create_application(server.dsn())
            assert command(server.dsn(), "migrate").returncode == 0
            daemon.wait_for("database.restored")
            daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
            assert daemon.stop() == 0
    finally:
        server.destroy()


@pytest.mark.slow
def test_it_exports_what_an_hour_let_expect(dsn: str, connection: Connection) -> None:
    """Two hours in which a quarter fails, after four weeks in which little did; without being asked, nothing of it."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
        " select h || ' ' || i, 'j', 'rest', case when i <= case when h < 2 then 10 else 1 end then 'failed'"
        " else 'success' end, date_trunc('hour', now(), 'UTC') - (h + 1) * interval '1 hour', 100"
        " from generate_series(-1, 700) h, generate_series(1, 40) i"
    )
    connection.execute("select * from refresh_action_analytics()")
    with Daemon(dsn, **LONG, alerts__unusual=True) as daemon:
        eventually(lambda: daemon.metric("analytics_unusual", series="failure_rate:rest") == 1.0, within=60.0)
        value = daemon.metric("analytics_expected", series="failure_rate:rest", bound="value")
        upper = daemon.metric("analytics_expected", series="failure_rate:rest", bound="upper")
        assert value == 0.25
        assert upper is not None
        assert upper < 0.2
        assert daemon.metric("analytics_expected", series="volume:rest", bound="expected") == pytest.approx(40)
        assert daemon.metric("analytics_unusual", series="volume:rest") == 0.0
        assert daemon.stop() == 0


def test_failed_view_is_partial_never_ok(dsn: str, stretchable: Connection) -> None:
    """A row with success=false makes the run partial, is logged with its SQLSTATE, and fires; then resolves."""
    stretch(stretchable, "recent_failures", message="boom", sqlstate="XX000")
    with Daemon(dsn, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished", count=2)
        assert line["outcome"] == "partial"
        failed = next(view for view in line["views"] if not view["success"])
        assert (failed["view"], failed["sqlstate"]) == ("recent_failures", "XX000")
        assert failed["rows"] is None
        assert daemon.events("view.failed")[0]["view"] == "recent_failures"
        fired = daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsRefreshFailed")
        assert fired["view"] == "recent_failures"
        assert "XX000" in fired["description"]
        assert command(dsn, "status", **FAST).returncode == 1
        stretch(stretchable, "recent_failures")
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsRefreshFailed")
        assert daemon.stop() == 0


def test_missing_function_is_told_and_mended(dsn: str, connection: Connection) -> None:
    """Without its function the run fails with 42883, an alert fires at once, and its return is enough."""
    definition = value(connection, "select pg_get_functiondef('refresh_action_analytics'::regproc)")
    connection.execute("drop function refresh_action_analytics()")
    with Daemon(dsn, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert (line["outcome"], line["sqlstate"]) == ("failed", "42883")
        daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsRefreshFailed")
        connection.execute(definition)
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        assert daemon.stop() == 0


STUB = """
    drop function if exists refresh_action_analytics();
    create function refresh_action_analytics() returns table ({columns}) language sql as $$ {body} $$
"""
CONTRACT = "view_name text, refresh_duration_ms integer, rows_refreshed bigint, success boolean, error_message text"


@pytest.mark.parametrize(
    ("columns", "body", "outcome", "reason"),
    [
        (
            CONTRACT,
            "refresh materialized view concurrently recent_failures;"
            " select * from (values ('recent_failures', 1, 1::bigint, true, null::text)) v",
            "partial",
            "missing",
        ),
        (
            CONTRACT,
            "select null::text, null::int, null::bigint, null::boolean, null::text where false",
            "failed",
            "missing",
        ),
        (CONTRACT, "select v, -5, 1::bigint, null::boolean, null::text from unnest(%s) v", "failed", "contract"),
        (CONTRACT, "select v, 1, 1::bigint, true, null::text from unnest(%s || %s) v", "failed", "duplicated"),
        (CONTRACT, "select v, 42, 100::bigint, true, null::text from unnest(%s) v", "failed", "contract"),
        ("view_name text, success boolean", "select v, true from unnest(%s) v", "failed", "contract"),
    ],
    ids=["views missing", "no rows", "nulls", "twice", "nothing refreshed", "other columns"],
)
def test_absurd_rows_are_never_ok(
    dsn: str, connection: Connection, columns: str, body: str, outcome: str, reason: str
) -> None:
    """Whatever the function returns instead of each view exactly once is recorded as a failure, without a crash."""
    views = "array[" + ", ".join(f"'{view}'" for view in VIEWS) + "]"
    connection.execute(STUB.format(columns=columns, body=body.replace("%s", views)))
    with Daemon(dsn, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert (line["outcome"], line["reason"]) == (outcome, reason)
        daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsContractBroken")
        daemon.wait_for("refresh.finished", count=2)
        assert daemon.stop() == 0


def test_unwritable_history_keeps_the_refresh(dsn: str, connection: Connection) -> None:
    """The refresh stands, its result waits, is counted, and is written when history is back."""
    connection.execute("alter table analytics_refresh.runs rename to runs_away")
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=2)
        daemon.wait_for("history.pending")
        daemon.until(lambda: (daemon.metric("analytics_history_pending") or 0) >= 1)
        connection.execute("alter table analytics_refresh.runs_away rename to runs")
        daemon.wait_for("history.pending", lambda line: line["pending"] == 0)
        ids = {line["run_id"] for line in daemon.events("refresh.finished")[:2]}
        assert daemon.stop() == 0
    stored = {str(row[0]) for row in connection.execute("select run_id from analytics_refresh.runs").fetchall()}
    assert ids <= stored


def test_pause_suspends_and_always_ends(dsn: str, connection: Connection) -> None:
    """A pause skips slots with its reason, shows in status and metric, and ends by itself."""
    with Daemon(dsn, **FAST, schedule__splay="0s") as daemon:
        daemon.wait_for("refresh.finished")
        assert command(dsn, "pause", "--for", "1h", "--reason", "nightly load", **FAST).returncode == 0
        assert daemon.wait_for("refresh.paused")["reason_text"] == "nightly load"
        assert daemon.wait_for("refresh.skipped")["reason"] == "paused"
        assert daemon.metric("analytics_paused") == 1
        assert command(dsn, "pause", "--for", "2h", "--reason", "slow load", **FAST).returncode == 0
        first, longer = daemon.events("refresh.paused")[0], daemon.wait_for("refresh.paused", count=2)
        assert (longer["reason_text"], longer["until"] > first["until"]) == ("slow load", True)
        shown = command(dsn, "status", "--format", "json", **FAST)
        assert json.loads(shown.stdout)["pause"]["reason"] == "slow load"
        before = len(daemon.events("refresh.finished"))
        connection.execute("update analytics_refresh.pauses set ends_at = now()")  # its hour has passed
        daemon.wait_for("refresh.resumed")
        daemon.wait_for("refresh.finished", count=before + 1)
        assert daemon.stop() == 0
    assert value(connection, "select count(*) from analytics_refresh.runs where reason = 'paused'") >= 1


def test_a_timeout_rolls_back_every_view(dsn: str, stretchable: Connection) -> None:
    """A call that outlasts its time limit is a timeout: all four views rolled back, none refreshed."""
    stretch(stretchable, "recent_failures", 3.4)
    with Daemon(dsn, **FAST) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert (line["outcome"], line["sqlstate"]) == ("timeout", "57014")
        assert {view["reason"] for view in line["views"]} == {"rolled_back"}
        assert daemon.stop() == 0


def looking_at_runs(connection: Connection) -> set[int]:
    """The sessions whose last statement read history, as one that waits for a run does."""
    found = connection.execute(
        "select pid from pg_stat_activity where datname = current_database() and query like '%where v.run_id = any (%'"
    )
    return {pid for (pid,) in found}


def test_a_slot_behind_another_refresh_is_skipped_and_recorded(dsn: str, aged: Connection) -> None:
    """While somebody else refreshes, slots are skipped with reason overlap: counted, logged once, and in history.

    `refresh` is skipped, too, and `refresh --wait` answers with the run that it waited for.
    """
    settings: Settings = {"schedule__interval": "6h", "alerts__stale_for": "0s", "refresh__lock_timeout": "2m"}
    with holding_refresh(dsn, VIEWS[2]) as holder, Daemon(dsn, **settings) as daemon:
        eventually(lambda: refreshes_under_way(aged))
        done = command(dsn, "refresh", "--format", "json")
        assert (done.returncode, json.loads(done.stdout)["reason"]) == (0, "overlap")
        with ThreadPoolExecutor(1) as pool:
            daemons = looking_at_runs(aged)
            joining = pool.submit(command, dsn, "refresh", "--wait", "--format", "json")
            eventually(lambda: looking_at_runs(aged) - daemons)
            holder.rollback()
            line = daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
            joined = joining.result()
        assert (joined.returncode, json.loads(joined.stdout)["run_id"]) == (0, line["run_id"])
        assert f"joined the run {line['run_id']}" in joined.stderr
        assert daemon.stop() == 0
    assert value(aged, "select outcome from analytics_refresh.runs where reason = 'overlap'") == "skipped"


@pytest.mark.fault
def test_D18_a_schema_one_version_newer_serves(dsn: str, connection: Connection) -> None:
    """After a migration by a newer version, this one goes on: refreshes, writes history, reads alerts."""
    connection.execute("insert into analytics_refresh.schema_version (version, name) values (9999, 'from the future')")
    connection.execute("alter table analytics_refresh.runs add column novelty text not null default 'x'")
    connection.execute("alter table analytics_refresh.view_results add column novelty integer")
    connection.execute("alter table analytics_refresh.alerts add column novelty jsonb")
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=2)
        assert daemon.events("history.pending") == []
        assert daemon.stop() == 0
    assert value(connection, "select count(*) from analytics_refresh.runs where outcome = 'ok'") >= 2


@pytest.mark.fault
def test_D06_a_killed_daemons_run_is_closed_as_abandoned(dsn: str, aged: Connection, stretchable: Connection) -> None:
    """After kill -9 in mid-refresh the next daemon marks the running row unknown, reason abandoned."""
    stretch(stretchable, "recent_failures", 60)
    with Daemon(dsn, **LONG) as daemon:
        # asleep in the view, so that nothing but the server's own look at the client ends it
        eventually(lambda: sleeper(stretchable))
        assert value(stretchable, "select count(*) from analytics_refresh.runs where outcome is null") == 1
        daemon.process.kill()
        daemon.process.wait(10)
    stretch(stretchable, "recent_failures")
    eventually(lambda: not refreshes_under_way(stretchable))
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        eventually(
            lambda: (
                value(stretchable, "select reason from analytics_refresh.runs where outcome = 'unknown'") == "abandoned"
            )
        )
        assert daemon.stop() == 0


def test_status_without_our_schema_and_with_it(older_dsn: str) -> None:
    """On an older install alone, `run` creates nothing, works, and `status` shows unknown as unknown."""
    with Daemon(older_dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=2)
        daemon.until(lambda: (daemon.metric("analytics_view_age_minutes", view="recent_failures") or 9) < 1)
        assert daemon.stop() == 0
    with psycopg.connect(older_dsn) as connection:
        assert value(connection, "select to_regnamespace('analytics_refresh')") is None
    shown = command(older_dsn, "status", "--format", "json")
    assert shown.returncode == 1
    assert {view["verdict"] for view in json.loads(shown.stdout)["views"]} == {"unknown"}


def test_null_age_of_an_older_install_goes_stale_and_fires(older_dsn: str) -> None:
    """last_refresh NULL, and no refresh ever succeeding: the stale alert fires although the function knows no age."""
    with psycopg.connect(older_dsn, autocommit=True) as connection:
        for view in VIEWS:
            stretch(connection, view, message="never", sqlstate="P0001")
        with Daemon(older_dsn, **FAST) as daemon:
            fired = daemon.wait_for(
                "alert.firing",
                lambda line: line["alert"] == "AnalyticsViewStale" and line["view"] == "recent_failures",
            )
            assert "recent_failures" in fired["summary"]
            connection.execute("vacuum recent_failures")
            daemon.wait_for("refresh.finished", count=len(daemon.events("refresh.finished")) + 2)
            assert daemon.events("alert.resolved") == []
            assert daemon.stop() == 0


@pytest.mark.nightly
def test_sixty_five_seconds_are_reported_as_sixty_five(older_dsn: str) -> None:
    """An older install's function says 5 s for a view held 65 s; the daemon and `status` say 65."""
    with psycopg.connect(older_dsn, autocommit=True) as connection:
        functions = [
            value(connection, f"select pg_get_functiondef('{name}'::regproc)")
            for name in ("refresh_action_analytics", "get_analytics_refresh_status")
        ]
        # adopted, and then the application deploys its own functions again
        assert command(older_dsn, "migrate").returncode == 0
        for definition in functions:
            connection.execute(definition)
        stretch(connection, "trigger_performance_summary", 65)
    with Daemon(older_dsn, **LONG) as daemon:
        line = daemon.wait_for("refresh.finished", within=110)
        seconds = {view["view"]: view["seconds"] for view in line["views"]}
        assert 65.0 <= seconds["trigger_performance_summary"] < 80
        assert max(seconds[view] for view in VIEWS if view != "trigger_performance_summary") < 5
        reported = {view["view"]: view.get("reported_seconds") for view in line["views"]}
        assert (reported["trigger_performance_summary"] or 99) < 7
        daemon.until(
            lambda: (daemon.metric("analytics_refresh_duration_seconds", view="trigger_performance_summary") or 0) >= 65
        )
        assert daemon.stop() == 0
    shown = command(older_dsn, "status")
    assert "function says 5." in shown.stdout
    assert "measured 65." in shown.stdout


def test_reload_applies_or_keeps_the_old(dsn: str, aged: Connection, tmp_path: Path) -> None:
    """SIGHUP takes over a good file, refuses a bad one, and says so in log and metric."""
    path = tmp_path / "config.toml"
    path.write_text('[schedule]\ninterval = "6h"\n')
    with Daemon(dsn, config=path) as daemon:
        daemon.wait_for("refresh.finished")
        path.write_text('[schedule]\nintervall = "2s"\n')
        daemon.process.send_signal(signal.SIGHUP)
        refused = daemon.wait_for("config.reload_failed")
        assert "did you mean schedule.interval" in refused["problems"][0]
        daemon.until(lambda: daemon.metric("analytics_config_last_reload_success") == 0)
        path.write_text('[schedule]\ninterval = "2s"\n')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("config.reloaded")
        daemon.wait_for("refresh.finished", count=3)
        assert daemon.metric("analytics_config_last_reload_success") == 1
        assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_when_idle(dsn: str, aged: Connection, number: signal.Signals) -> None:
    """Both stop signals end an idle daemon with exit 0, and the log names the signal."""
    with Daemon(dsn, **LONG) as daemon:
        daemon.wait_for("refresh.finished")
        assert daemon.stop(number) == 0
        assert daemon.events("daemon.stopped")[0]["seconds"] < 5
    (stopping,) = daemon.events("daemon.stopping")
    assert (stopping["level"], stopping["signal"], stopping["reason"]) == ("info", number.name, None)


def test_firing_alert_survives_a_restart(dsn: str, stretchable: Connection) -> None:
    """After a restart a firing alert still fires, without a second firing line and without a false resolve."""
    stretch(stretchable, "recent_failures", message="boom", sqlstate="42501")
    with Daemon(dsn, **FAST) as daemon:
        fired = daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsRefreshFailed")
        eventually(
            lambda: value(
                stretchable,
                "select count(*) from analytics_refresh.alerts where state = 'firing' and alert = %s",
                "AnalyticsRefreshFailed",
            )
        )
        assert daemon.stop() == 0
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", count=2)
        assert daemon.metric("analytics_alerts_firing", alert="AnalyticsRefreshFailed", view="recent_failures") == 1
        failed = [line for line in daemon.lines if line.get("alert") == "AnalyticsRefreshFailed"]
        assert failed == []
        stretch(stretchable, "recent_failures")
        resolved = daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsRefreshFailed")
        assert resolved["active_at"] == fired["active_at"]
        assert daemon.stop() == 0


@pytest.mark.quick
@pytest.mark.fault
def test_G01_port_in_use(dsn: str, free_listener: int) -> None:
    """Port in use: exit 70 and one sentence that names the key."""
    done = command(dsn, "run", http__port=free_listener)
    assert done.returncode == 70
    assert str(free_listener) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def free_listener() -> Any:
    """A port that somebody listens on."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
