"""What the environment of a process may hold, and what its files begin with."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_refreshd.cli import common
from analytics_refreshd.config import load
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.runbooks import runbook
from analytics_refreshd.demo import DemoError, ports
from analytics_refreshd.notify.receivers.alertmanager import endpoint
from analytics_refreshd.notify.request import read_secret
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.connection.passwords import password_from_file

pytestmark = pytest.mark.fault

SCRIPT = Path(sys.executable).with_name("analytics-refreshd")
LEAST = '[database]\nurl = "postgresql://u@db.example.net/app"\n'
MARK = b"\xef\xbb\xbf"


@pytest.mark.quick
def test_L25_variables_of_kubernetes_services_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service whose name begins as ours puts these into every pod beside it; Docker's links do the same."""
    for service in (
        "ANALYTICS_REFRESHD",
        "ANALYTICS_REFRESHD_ORDERS",
        "ANALYTICS_REFRESHD_HTTP",
        "ANALYTICS_REFRESHD_LOG_2",
    ):
        port = f"{service}_PORT"
        for name, value in {
            f"{service}_SERVICE_HOST": "10.0.0.7",
            f"{service}_SERVICE_PORT": "9720",
            f"{service}_SERVICE_PORT_HTTP_METRICS": "9720",
            port: "tcp://10.0.0.7:9720",
            f"{port}_9720_TCP": "tcp://10.0.0.7:9720",
            f"{port}_9720_TCP_PROTO": "tcp",
            f"{port}_9720_TCP_PORT": "9720",
            f"{port}_9720_TCP_ADDR": "10.0.0.7",
            f"{port}_53_UDP": "udp://10.0.0.7:53",
        }.items():
            monkeypatch.setenv(name, value)
    config = load({"database": {"url": "postgresql://u@db.example.net/app"}})
    assert config.http.port == 9720


@pytest.mark.parametrize("name", ["PORT", "SERVICE_PORT", "SERVICE_HOST", "HTTP_PORT", "PORT_9720_TCP"])
def test_L25_a_variable_that_only_looks_like_one_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever meant HTTP__PORT hears of it."""
    monkeypatch.setenv(f"ANALYTICS_REFRESHD_{name}", "9721")
    with pytest.raises(ConfigError, match=f"ANALYTICS_REFRESHD_{name} sets nothing that exists"):
        load({"database": {"url": "postgresql://u@db.example.net/app"}})


def test_L25_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    """Some editors begin every file with one: configuration, password, secrets, queries."""
    path = tmp_path / "config.toml"
    path.write_bytes(MARK + LEAST.encode())
    assert load(path).name == "app"
    (tmp_path / "secret").write_bytes(MARK + "hunter2ß\n".encode())
    assert password_from_file(tmp_path / "secret") == "hunter2ß"
    assert read_secret(tmp_path / "secret", "token") == "hunter2ß"
    (tmp_path / "mine.sql").write_bytes(
        MARK + b"-- name: mine\n-- section: mine\n-- endpoint: mine\n-- purpose: p\n-- organizations: no\n"
        b"-- column: one count; One\nselect 1 as one\n"
    )
    assert Catalogue.load(tmp_path).get("mine").endpoint == "mine"
    (tmp_path / "secret").write_bytes(MARK + b"\n")
    path.write_text(LEAST + f'password_file = "{tmp_path}/secret"\n')
    with pytest.raises(ConfigError, match="password_file is empty"):
        load(path)


@pytest.mark.parametrize(
    ("url", "posted_to"),
    [
        ("http://am:9093", "http://am:9093/api/v2/alerts"),
        ("http://am:9093/", "http://am:9093/api/v2/alerts"),
        ("http://am:9093/prefix/", "http://am:9093/prefix/api/v2/alerts"),
        ("http://am:9093/?tenant=a", "http://am:9093/api/v2/alerts?tenant=a"),
        ("http://am:9093/api/v2/alerts?tenant=a", "http://am:9093/api/v2/alerts?tenant=a"),
        ("http://am:9093/api/v2/alerts/?tenant=a/b", "http://am:9093/api/v2/alerts?tenant=a/b"),
        ("http://am:9093/#/alerts", "http://am:9093/api/v2/alerts"),
    ],
)
def test_L25_an_alertmanager_may_have_a_query_string(url: str, posted_to: str) -> None:
    """It stays behind the path; what a browser shows behind # is no part of the address."""
    assert endpoint(url) == posted_to


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("deploy/runbooks", "deploy/runbooks/X.md"),
        ("https://w.example.com/r/", "https://w.example.com/r/X.md"),
        ("https://w.example.com/r?space=ops", "https://w.example.com/r/X.md?space=ops"),
        ("https://w.example.com/#/r", "https://w.example.com/#/r/X.md"),
    ],
)
def test_L25_so_may_the_runbooks(url: str, link: str) -> None:
    """The link leads to the page."""
    assert runbook(url, "X") == link


def closed(streams: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with standard streams closed, as `>&-` does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANALYTICS_REFRESHD_")}
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", str(SCRIPT), *words],
        env=environment | {"ANALYTICS_REFRESHD_DATABASE__URL": "postgresql://u@127.0.0.1:1/x"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.quick
@pytest.mark.slow
def test_L25_closed_streams_are_told_or_not_needed() -> None:
    """What cannot be written is 74, what cannot be read is 64; what is not needed changes nothing."""
    for words in (["query", "--list"], ["query", "--list", "--format", "json"], ["--help"], ["check"]):
        done = closed(">&-", *words)
        assert (done.returncode, done.stderr) == (
            74,
            "analytics-refreshd: cannot write the answer: Bad file descriptor\n",
        )
    unread = closed("<&-", "incident", "--log", "-")
    assert unread.returncode == 64
    assert "cannot be read" in unread.stderr
    assert "Traceback" not in unread.stderr
    assert closed("2>&-", "query", "--list").returncode == 0
    assert closed("<&- 2>&-", "check").returncode == 1
    assert closed("<&- >&- 2>&-", "check").returncode == 74
    assert closed("<&- >&-", "status").returncode == 75


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_L25_json_stays_json_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the encoding lacks is escaped as JSON escapes it."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    common.print_json({"text": "Größe … 北京"})
    assert json.loads(written.getvalue().decode(encoding)) == {"text": "Größe … 北京"}
    assert ("北京" in written.getvalue().decode(encoding)) == (encoding == "utf-8")


@pytest.mark.slow
def test_L25_a_port_that_this_user_may_not_use_is_not_called_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports below 1024 are root's on most machines: the sentence says so, and which to take."""

    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("analytics_refreshd.demo.ports.socket.socket", Refusing)
    with pytest.raises(DemoError, match=r"Port 81 on 127\.0\.0\.1 may not be used by this user"):
        ports.held_port(81, 9720, "--port")
