"""The commands that alerts tell to type, as the person on call types them, and what they say without a database."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import ROLE
from tests.integration.test_migrate_roles import psql
from tests.support.adapters import holding_refresh
from tests.support.daemon import Daemon, command
from tests.support.faults import Connection, FaultServer, act
from tests.support.installs import install_older
from tests.support.next_commands import next_commands
from tests.support.ordinary import Call, Done, commands, open_folder
from tests.support.postgres import Server, free_port

pytestmark = pytest.mark.fault


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may look into."""
    with open_folder() as made:
        yield made


def test_L20_every_next_command_runs_for_the_person_on_call(granted: Server, folder: Path) -> None:
    """Typed as it stands, by an ordinary user, with the default configuration and the guide's own role: an answer."""
    lines = next_commands()
    assert len(lines) >= 5, lines
    with granted.connect() as owner:
        act(owner, "a")
    assert command(granted.dsn(user=ROLE), "refresh").returncode == 0
    (folder / "config.toml").write_text(f'[database]\nurl = "{granted.dsn(user=ROLE)}"\n')
    # where that alert is switched on, the role has the grants of the probes
    probes = [line for line in lines if line.startswith("analytics-refreshd query unhealthy-triggers")]
    assert probes
    others = [line for line in lines if line not in probes]
    answers: list[tuple[str, Done]] = []
    for some in (others, probes):
        calls = [Call(shlex.split(line)[1:], default=str(folder / "config.toml")) for line in some]
        answers += zip(some, commands(*calls), strict=True)
        psql(granted.dsn(), "grants.sql", "-v", f"role={ROLE}", "-v", "probes=1")
    for line, done in answers:
        assert done.returncode in (0, 1), (line, done)
        assert "permission denied" not in done.stderr, line
        assert done.stdout.strip(), line
        if not line.startswith(("analytics-refreshd status", "analytics-refreshd check")):
            assert done.returncode == 0, (line, done)


def test_L20_check_finds_what_stops_an_older_install(application_dsn: str) -> None:
    """Its numeric(10,2), its VACUUM times; and `query refresh-status` finds the views that its function names."""

    with psycopg.connect(application_dsn, autocommit=True) as connection:
        install_older(connection)
    checked = command(application_dsn, "check").stdout
    assert "avg_duration_ms numeric(10,2)" in checked
    assert "SQLSTATE 22003" in checked
    assert "migrate --replace" in checked
    assert "passes off the time of a VACUUM" in checked
    asked = command(application_dsn, "query", "refresh-status", "--format", "json")
    assert asked.returncode == 0, asked.stderr
    assert len(json.loads(asked.stdout)["rows"]) == 4


def test_L20_check_names_the_view_whose_last_refresh_failed(connection: Connection, dsn: str) -> None:
    """After 22003 it does not say that all is well; after the cure it does."""
    connection.execute("alter function get_analytics_refresh_status() rename to unused")
    connection.execute(
        "create function get_analytics_refresh_status() returns table (view_name text, row_count bigint,"
        " size_bytes bigint, last_refresh timestamptz, age_minutes integer) language sql as"
        " $$select c.relname::text, 0::bigint, 0::bigint, pg_stat_get_last_vacuum_time(c.oid), 0 from pg_class c$$"
    )
    assert "passes off the time of a VACUUM" in command(dsn, "check").stdout
    run = "00000000-0000-4000-8000-000000000001"
    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome)"
        " values (%s, 'x', 'r', 'command', now(), now(), 'partial')",
        (run,),
    )
    connection.execute(
        "insert into analytics_refresh.view_results (run_id, view_name, success, reason, sqlstate, error)"
        " values (%s, 'recent_failures', false, 'data', '22003', 'numeric field overflow')",
        (run,),
    )
    found = command(dsn, "check", "--format", "json")
    assert found.returncode == 1
    [finding] = [item for item in json.loads(found.stdout) if item["name"] == "last refresh"]
    assert finding["level"] == "error"
    assert "recent_failures failed at" in finding["text"]
    assert "22003 data numeric field overflow" in finding["text"]
    assert command(dsn, "refresh").returncode == 0
    assert "last refresh" not in command(dsn, "check").stdout


def test_L20_history_without_our_tables_comes_from_the_daemon(application_dsn: str) -> None:
    """On an older install the daemon beside remembers the runs; without one the sentence says what keeps them."""

    with psycopg.connect(application_dsn, autocommit=True) as connection:
        install_older(connection)
    port = free_port()
    alone = command(application_dsn, "history", http__port=port)
    assert (alone.returncode, alone.stdout) == (1, "")
    assert "analytics-refreshd migrate" in alone.stderr
    with Daemon(application_dsn, http__port=port, schedule__interval="1s") as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=2)
        shown = command(application_dsn, "history", "--view", "recent_failures", "--limit", "5", http__port=port)
        assert shown.returncode == 0, shown.stderr
        assert "recent_failures" in shown.stdout
        assert "action_metrics_hourly" not in shown.stdout
        assert "not from the database (no history is kept here" in shown.stderr
        rows = json.loads(command(application_dsn, "history", "--format", "json", http__port=port).stdout)
        assert rows
        assert {row["outcome"] for row in rows} == {"ok"}
        assert len(rows[0]["views"]) == 4


def test_L29_status_names_who_held_a_lock_after_the_run(dsn: str, connection: Connection) -> None:
    """From history, once nothing runs any more and the lock is gone; `history` shows the same."""
    with holding_refresh(dsn, "recent_failures") as holder:
        pid = holder.info.backend_pid
        # one run alone: of a daemon the next might end otherwise before it stops; long enough to be looked at
        assert command(dsn, "refresh", refresh__lock_timeout="5s").returncode == 2
    held = f"canceling statement due to lock timeout: it waited on pid {pid}, nightly-etl"
    assert f"recent_failures: the last run failed: 55P03 {held}" in " ".join(command(dsn, "status").stdout.split())
    runs = json.loads(command(dsn, "history", "--format", "json").stdout)
    assert any(held in str(view["error"]) for run in runs for view in run["views"])


@pytest.mark.quick
def test_L26_a_server_that_is_down_is_told_by_the_daemon(fault_server: FaultServer) -> None:
    """status, history and check tell what the daemon beside them knows, and that it is the daemon's word."""
    port = free_port()
    with Daemon(fault_server.dsn, http__port=port, schedule__interval="1s") as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=2)
        fault_server.server.stop()
        daemon.wait_for("database.lost")
        daemon.until(lambda: not json.loads(daemon.get("/status.json")[1])["database_up"])
        told = f"on 127.0.0.1:{port}, which read the database"
        for words in (["status"], ["history"], ["status", "--format", "json"], ["history", "--format", "csv"]):
            done = command(fault_server.dsn, *words, http__port=port)
            assert done.returncode == 75, (words, done.stderr)
            assert "not from the database" in done.stderr
            assert told in done.stderr
            assert "recent_failures" in done.stdout
        document = json.loads(command(fault_server.dsn, "status", "--format", "json", http__port=port).stdout)
        assert (document["source"], document["database_up"]) == ("memory", False)
        checked = command(fault_server.dsn, "check", http__port=port)
        assert checked.returncode == 1
        assert f"from the daemon {document['replica']} {told}" in checked.stdout
        assert "does not answer" in checked.stdout or "database" in checked.stdout
        other = command(fault_server.dsn, "status", http__port=port, service__name="another")
        assert (other.returncode, other.stdout) == (75, "")
    gone = command(fault_server.dsn, "status", http__port=port)
    assert (gone.returncode, gone.stdout) == (75, "")
