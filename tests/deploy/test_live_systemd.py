"""A real systemd runs what is shipped: the wheel and the units, installed as the guide says."""

import json
import shutil
from collections.abc import Iterator

import psycopg
import pytest

from tests.deploy.booted import PASSWORD, UNIT, Machine
from tests.support.next_commands import next_commands
from tests.support.postgres import Server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]


@pytest.fixture
def service(machine: Machine, reachable: Server) -> Iterator[Machine]:
    """The unit configured for a database whose socket lies in the tree, started and leading."""
    configuration = (
        f'[service]\nname = "orders"\n[database]\nhost = "/var/postgresql"\nport = {reachable.port}\n'
        'dbname = "postgres"\nuser = "postgres"\n[schedule]\ninterval = "2s"\n'
    )
    machine.write("/etc/analytics-refreshd/config.toml", configuration)
    machine.write("/etc/analytics-refreshd/config.password", "not-asked-for\n", 0o600)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed", UNIT)
    assert machine.run("systemctl", "start", UNIT).returncode == 0, machine.journal()[-5:]
    eventually(machine.is_up, within=30)
    yield machine
    machine.run("systemctl", "stop", UNIT)


def test_a_killed_daemon_returns(service: Machine) -> None:
    """SIGKILL is followed by a restart that leads again."""
    first = service.show()["MainPID"]
    service.run("systemctl", "kill", "-s", "KILL", UNIT)
    eventually(lambda: service.show()["NRestarts"] == "1" and service.is_up(), within=40)
    assert service.show()["MainPID"] != first


def test_a_hung_daemon_is_killed_by_the_watchdog_and_returns(service: Machine) -> None:
    """A process that no longer runs misses its watchdog, is aborted, and a new one leads."""
    service.write(f"/etc/systemd/system/{UNIT}.service.d/fast.conf", "[Service]\nWatchdogSec=6\nTimeoutAbortSec=2\n")
    try:
        service.run("systemctl", "daemon-reload")
        service.run("systemctl", "restart", UNIT)
        eventually(service.is_up, within=30)
        service.run("systemctl", "kill", "-s", "STOP", UNIT)
        eventually(lambda: service.show()["NRestarts"] == "1" and service.is_up(), within=60)
        said = [entry["MESSAGE"] for entry in service.journal()]
        assert any("Failed with result 'watchdog'" in message for message in said)
    finally:
        shutil.rmtree(service.tree / f"etc/systemd/system/{UNIT}.service.d")
        service.run("systemctl", "daemon-reload")


def test_a_reload_applies_and_a_broken_one_changes_nothing(service: Machine) -> None:
    """SIGHUP takes over a new file; one that cannot be used is refused, named, and the process goes on."""
    path = service.tree / "etc/analytics-refreshd/config.toml"
    good = path.read_text()
    pid = service.show()["MainPID"]
    path.write_text(good.replace('"2s"', '"3s"'))
    assert service.run("systemctl", "reload", UNIT).returncode == 0
    reloaded = eventually(lambda: service.events("config.reloaded"), within=30)
    assert "PT3S" in json.dumps(reloaded[-1])
    path.write_text(good + "[schedul]\n")
    assert service.run("systemctl", "reload", UNIT).returncode == 0
    eventually(lambda: service.events("config.reload_failed"), within=30)
    path.write_text(good)
    assert service.show()["MainPID"] == pid


@pytest.mark.fault
def test_L19_a_rotated_password_is_used(service: Machine, reachable: Server) -> None:
    """The role's password changes, then its file: the daemon restarts with it and leads again. An empty file waits."""
    hba = reachable.data / "pg_hba.conf"
    rules = hba.read_text()
    config = service.tree / "etc/analytics-refreshd/config.toml"
    with psycopg.connect(reachable.dsn(), autocommit=True) as admin:
        try:
            admin.execute("create role rotated superuser login password 'first'")
            hba.write_text("local all rotated scram-sha-256\n" + rules)
            admin.execute("select pg_reload_conf()")
            config.write_text(config.read_text().replace('user = "postgres"', 'user = "rotated"'))
            service.write("/etc/analytics-refreshd/config.password", "first\n", 0o600)
            eventually(service.is_up, within=60)
            service.run("systemctl", "restart", UNIT)
            eventually(service.is_up, within=60)
            first = service.show()["MainPID"]
            service.write("/etc/analytics-refreshd/config.password", "", 0o600)
            admin.execute("alter role rotated password 'second'")
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'rotated'")
            eventually(lambda: service.events("database.lost"), within=60)
            assert service.show()["MainPID"] == first
            service.write("/etc/analytics-refreshd/new", "second\n", 0o600)
            service.run("mv", "/etc/analytics-refreshd/new", "/etc/analytics-refreshd/config.password")
            eventually(lambda: service.show()["MainPID"] not in (first, "0") and service.is_up(), within=90)
            eventually(lambda: service.show()["StatusText"].startswith("leader, database up"), within=60)
        finally:
            hba.write_text(rules)
            admin.execute("select pg_reload_conf()")
            admin.execute("drop role rotated")


@pytest.mark.fault
def test_L20_who_is_on_call_types_what_an_alert_says(service: Machine) -> None:
    """On a host installed as the guide says, an ordinary user of its group types the command as it stands."""
    service.let_on_call_in()
    config = service.tree / "etc/analytics-refreshd/config.toml"
    config.write_text(config.read_text().replace("[schedule]", f'password_file = "{PASSWORD}"\n[schedule]'))
    eventually(lambda: service.events("refresh.finished"), within=60)
    for line in next_commands():
        done = service.as_on_call(line)
        assert done.returncode in (0, 1), (line, done.stderr)
        assert done.stdout.strip(), (line, done.stderr)
        assert "Traceback" not in done.stderr
    stranger = service.run(
        "runuser", "--login", "nobody", "--shell", "/bin/sh", "--command", "analytics-refreshd status"
    )
    assert stranger.returncode == 78
    assert "database.password_file cannot be read: Permission denied" in stranger.stderr


def test_a_broken_configuration_stops_it_for_good(service: Machine) -> None:
    """Exit code 78 is not answered by a restart, and the journal names the problem."""
    service.run("systemctl", "stop", UNIT)
    service.write("/etc/analytics-refreshd/config.toml", '[schedule]\ninterval = "soon"\n')
    assert service.run("systemctl", "start", UNIT).returncode != 0
    shown = service.show()
    assert (shown["ActiveState"], shown["ExecMainStatus"], shown["NRestarts"]) == ("failed", "78", "0")
    assert any("schedule.interval" in entry["MESSAGE"] for entry in service.journal())


def test_it_stops_on_request_and_leaves_no_session(service: Machine, reachable: Server) -> None:
    """SIGTERM in the middle of a refresh that waits for a lock: stopped, not failed, and nothing stays connected."""
    with psycopg.connect(reachable.dsn()) as blocker:
        blocker.execute("refresh materialized view concurrently recent_failures")
        eventually(lambda: _waiting(reachable), within=30)
        service.run("systemctl", "stop", UNIT)
    shown = service.show()
    assert (shown["ActiveState"], shown["Result"], shown["ExecMainStatus"]) == ("inactive", "success", "0")
    with reachable.connect() as connection:
        sessions = "select count(*) from pg_stat_activity where application_name like 'analytics-refreshd/%'"
        eventually(lambda: connection.execute(sessions).fetchone() == (0,), within=20)


def _waiting(database: Server) -> bool:
    with database.connect() as connection:
        waits = "select 1 from pg_locks where not granted and relation = 'recent_failures'::regclass"
        return connection.execute(waits).fetchone() is not None


def test_the_journal_holds_json_with_the_right_fields(service: Machine) -> None:
    """Each line is one JSON object under our identifier, unprivileged, with a fitting priority."""
    eventually(lambda: service.events("refresh.finished"), within=30)
    priorities = {"debug": "7", "info": "6", "warning": "4", "error": "3"}
    lines = [entry for entry in service.journal() if entry["MESSAGE"].startswith("{")]
    for entry in lines:
        assert entry["SYSLOG_IDENTIFIER"] == UNIT
        assert entry["PRIORITY"] == priorities[json.loads(entry["MESSAGE"])["level"]]
        assert int(entry["_UID"]) >= 1000


def test_a_timer_does_without_the_daemon(service: Machine) -> None:
    """The oneshot service refreshes once and ends well; its timer can be enabled."""
    service.run("systemctl", "stop", UNIT)
    unit = "analytics-refreshd-refresh@config"
    assert service.run("systemctl", "start", f"{unit}.service").returncode == 0
    assert service.show(f"{unit}.service")["Result"] == "success"
    assert service.run("systemctl", "enable", "--now", f"{unit}.timer").returncode == 0
    assert service.show(f"{unit}.timer")["ActiveState"] == "active"
    service.run("systemctl", "disable", "--now", f"{unit}.timer")


def test_the_template_runs_several_databases_at_once(service: Machine) -> None:
    """Two instances with a file and a port each run side by side."""
    service.run("systemctl", "stop", UNIT)
    good = (service.tree / "etc/analytics-refreshd/config.toml").read_text()
    for port, name in enumerate(("orders", "billing"), 9801):
        text = good.replace('name = "orders"', f'name = "{name}"') + f"[http]\nport = {port}\n"
        service.write(f"/etc/analytics-refreshd/{name}.toml", text)
        service.write(f"/etc/analytics-refreshd/{name}.password", "not-asked-for\n", 0o600)
    units = [f"{UNIT}@orders", f"{UNIT}@billing"]
    assert service.run("systemctl", "start", *units).returncode == 0
    assert [service.show(unit)["ActiveState"] for unit in units] == ["active", "active"]
    service.run("systemctl", "stop", *units)
