"""Section E of the fault matrix: the configuration, its files, and secrets that change."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from analytics_refreshd.core.model import VIEWS
from tests.support.adapters import connector
from tests.support.daemon import Daemon, Settings, command
from tests.support.faults import FAST, Connection, FaultServer, end_our_sessions, fired, result_of

pytestmark = pytest.mark.fault

CANARY = "CANARY-7f3a"
NOWHERE = "postgresql://u@127.0.0.1:1/x"


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def refused(dsn: str, *, config: Path | None = None, **settings: object) -> str:
    """What `run` says before it ends with 78."""
    words = ["--config", str(config), "run"] if config else ["run"]
    # what is not refused runs until it is killed
    done = command(dsn, *words, timeout=30.0, **settings)
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_E01_missing_and_malformed_values() -> None:
    """Every missing or malformed value is named in one message, and nothing starts with a default for the database."""
    said = refused("", schedule__interval="5x", alerts__min_executions=-1, staleness__max_age="-5m")
    for key in ("database.url", "schedule.interval", "alerts.min_executions", "staleness.max_age"):
        assert key in said, key


@pytest.mark.parametrize(
    ("settings", "inequality"),
    [
        ({"refresh__statement_timeout": "6m"}, "statement_timeout < refresh.deadline < schedule.interval"),
        ({"refresh__lock_timeout": "4m"}, "lock_timeout < refresh.statement_timeout"),
        ({"staleness__max_age": "5m"}, "staleness.max_age must be over schedule.interval + refresh.deadline"),
    ],
    ids=["statement over interval", "lock at statement", "age under interval"],
)
def test_E02_contradictory_times(settings: Settings, inequality: str) -> None:
    """Times that contradict each other are refused with the inequality. (The lease and its heartbeat are fixed.)"""
    given: Settings = {"refresh__statement_timeout": "240s"} | settings
    said = refused(NOWHERE, **given)
    assert inequality in said


@pytest.mark.parametrize(
    "dsn", [f"postgresql://u:{CANARY}@ss@h/db", f"postgresql://u:{CANARY}%zzss@h/db", f"host=h pass={CANARY}"]
)
def test_E03_malformed_dsn(dsn: str) -> None:
    """A malformed connection string is refused in our own words, without a piece of the password."""
    said = refused(dsn)
    assert "database.url" in said
    assert "CANARY" not in said
    assert "7f3a" not in said


def test_E04_unknown_key(tmp_path: Path) -> None:
    """An unknown key is refused with the nearest known one, in the file and in the environment."""
    path = tmp_path / "config.toml"
    path.write_text('[schedule]\nintervall = "300s"\n')
    assert "schedule.intervall is not a known key; did you mean schedule.interval?" in refused(NOWHERE, config=path)
    assert "did you mean" in refused(NOWHERE, schedule__intervall="300s")
    assert "SHEDULE" in refused(NOWHERE, shedule__interval="300s")


@pytest.mark.parametrize("file", ["configuration", "password"])
def test_E05_unreadable_file(tmp_path: Path, file: str) -> None:
    """A file that cannot be read is refused by name."""
    path = tmp_path / "file"
    path.write_text("[schedule]\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        # to root every file is readable, and no folder is a file
        path.unlink()
        path.mkdir()
    said = refused(NOWHERE, config=path) if file == "configuration" else refused(NOWHERE, database__password_file=path)
    assert "cannot be read" in said


def test_E05_empty_password_file(tmp_path: Path) -> None:
    """An empty password file is refused; nobody tries an empty password."""
    path = tmp_path / "password"
    path.write_text("\n")
    assert "database.password_file is empty" in refused(NOWHERE, database__password_file=path)


def test_E05_password_file_for_everybody(tmp_path: Path) -> None:
    """A password file that every user may read is told at the start, without its content."""
    path = tmp_path / "password"
    path.write_text(CANARY)
    path.chmod(0o644)
    with Daemon(NOWHERE, **FAST, database__password_file=path) as daemon:
        (warning,) = daemon.wait_for("config.loaded")["warnings"]
        assert "chmod 600" in warning
        assert daemon.stop() == 0
        assert not [line for line in daemon.raw if CANARY in line]


def test_E06_password_rotated_while_running(fault_server: FaultServer, tmp_path: Path) -> None:
    """A rotated password is read anew for each connection; a wrong one alerts, hammers nobody, and ends nothing."""
    path = tmp_path / "password"
    path.write_text("old-" + CANARY)
    path.chmod(0o600)
    rules = ["host all rotating 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 trust", "local all all trust"]
    (fault_server.server.data / "pg_hba.conf").write_text("\n".join(rules) + "\n")
    with fault_server.connect() as connection:
        connection.execute("select pg_reload_conf()")
        connection.execute(
            sql.SQL("create role rotating superuser login password {}").format(sql.Literal("old-" + CANARY))
        )
        settings = FAST | {"alerts__database_unavailable_for": "1s", "database__password_file": path}
        with Daemon(fault_server.server.dsn(user="rotating"), **settings) as daemon:
            daemon.wait_for("refresh.finished", ok)
            connection.execute(sql.SQL("alter role rotating password {}").format(sql.Literal("new-" + CANARY)))
            end_our_sessions(connection)
            # by a session that was ended, or by one that could not be made: whichever is noticed first
            daemon.wait_for("database.lost")
            assert "password" in fired(daemon, "AnalyticsDatabaseUnavailable")["description"]
            daemon.wait_for("leader.lost")

            def refusals() -> int:
                return (fault_server.server.folder / "log").read_text().count("password authentication failed")

            def missed() -> float:
                return daemon.metric("analytics_runs_skipped_total", reason="connect") or 0

            # three slots long: the evaluation asks at each, the election more rarely
            refused_before, missed_before, began = refusals(), missed(), time.monotonic()
            daemon.until(lambda: missed() >= missed_before + 3)
            assert refusals() - refused_before <= 3 + 2 * (time.monotonic() - began)
            path.write_text("new-" + CANARY)
            daemon.wait_for("database.restored")
            daemon.wait_for("refresh.finished", ok, count=len([*filter(ok, daemon.events("refresh.finished"))]) + 1)
            assert daemon.stop() == 0
            assert not [line for line in daemon.raw if CANARY in line]


@pytest.mark.parametrize("name", ["x(); drop table y;--", 'x"y', "a.b.c", ""])
def test_E07_hostile_identifier(name: str) -> None:
    """A function name that is not one or two plain parts is refused before anything is connected."""
    assert "refresh.function is not a plain SQL name" in refused(NOWHERE, refresh__function=name)


def threshold(daemon: Daemon) -> float:
    """The limit for slow refreshes that is in force."""
    (row,) = [row for row in daemon.get("/metrics")[1].splitlines() if 'name="refresh_slow_seconds"' in row]
    return float(row.rsplit(" ", 1)[1])


def test_E08_reload_with_a_bad_file(dsn: str, connection: Connection, tmp_path: Path) -> None:
    """A broken file keeps the whole old configuration in force, and is told in log and metric until a good one."""
    path = tmp_path / "config.toml"
    good = '[schedule]\ninterval = "2s"\n[alerts]\nslow_after = "7s"\n'
    path.write_text(good)
    with Daemon(dsn, config=path) as daemon:
        daemon.wait_for("refresh.finished")
        # the first half of it is fine, and must not be taken
        path.write_text('[alerts]\nslow_after = "9s"\n[schedule]\nintervall = "2s"\n')
        daemon.process.send_signal(signal.SIGHUP)
        problems = daemon.wait_for("config.reload_failed")["problems"]
        assert "did you mean schedule.interval" in problems[0]
        daemon.until(lambda: daemon.metric("analytics_config_last_reload_success") == 0)
        assert "was refused: the old one is in force" in daemon.get("/status.json")[1]
        assert threshold(daemon) == 7
        seen = len(daemon.events("refresh.finished"))
        daemon.wait_for("refresh.finished", count=seen + 1)
        path.write_text(good.replace("7s", "8s"))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("config.reloaded")
        daemon.until(lambda: daemon.metric("analytics_config_last_reload_success") == 1)
        assert "was refused" not in daemon.get("/status.json")[1]
        assert threshold(daemon) == 8
        assert daemon.stop() == 0


def test_E09_a_configured_view_is_not_returned(dsn: str, connection: Connection) -> None:
    """A configured view without a row is a failed view and a broken contract, never a silent success."""
    with Daemon(dsn, **FAST, refresh__views=[*VIEWS, "daily_totals"]) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert line["outcome"] == "partial"
        assert result_of(line, "daily_totals")["reason"] == "missing"
        assert "daily_totals" in fired(daemon, "AnalyticsContractBroken")["description"]
        assert daemon.stop() == 0


def test_E09_a_returned_view_is_not_configured(dsn: str, connection: Connection) -> None:
    """A row for a view that nobody configured is told as a broken contract, and gets no series."""
    with Daemon(dsn, **FAST, refresh__views=list(VIEWS[:3])) as daemon:
        daemon.wait_for("refresh.finished")
        assert VIEWS[3] in fired(daemon, "AnalyticsContractBroken")["description"]
        assert f'view="{VIEWS[3]}"' not in daemon.get("/metrics")[1]
        assert daemon.stop() == 0


@pytest.mark.quick
def test_E10_connect_timeout_under_two_seconds() -> None:
    """libpq raises a connect_timeout of 1 s to 2: as a key it is refused, in a URL ours stands in its place."""
    assert "database.connect_timeout" in refused(NOWHERE, database__connect_timeout="1s")
    settings = connector(NOWHERE + "?connect_timeout=1", connect_timeout_seconds=1.0).settings
    assert settings.libpq()["connect_timeout"] == 2
