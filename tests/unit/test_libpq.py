"""What libpq will use decides: an explicit keyword, the service file, the environment, its own default."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import pq

from analytics_refreshd.config import load
from analytics_refreshd.postgres.connection.libpq import asks_for_sslmode, used_by_libpq
from analytics_refreshd.postgres.connection.settings import ConnectionSettings, addresses, default_sslmode

pytestmark = [pytest.mark.fault, pytest.mark.quick]

Service = Callable[[str], None]


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Service:
    """Give the service `app` these lines; nothing else of libpq's environment is set."""
    for name in os.environ:
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    path = tmp_path / "services"
    monkeypatch.setenv("PGSERVICEFILE", str(path))

    def write(lines: str) -> None:
        path.write_text("[app]\n" + lines.replace(" ", "\n") + "\n")

    write("host=db.example.net")
    return write


def libpq(url: str | None = None, **parameters: str | int) -> dict[str, str | int]:
    """What a connection is told."""
    return ConnectionSettings("x", url=url, parameters=parameters).libpq()


@pytest.mark.parametrize("way", ["key", "url", "environment"])
@pytest.mark.parametrize(
    ("lines", "mode"),
    [
        ("host=db.example.net", "verify-full"),
        ("hostaddr=10.0.0.1", "verify-full"),
        ("host=localhost hostaddr=10.0.0.1", "verify-full"),
        ("host=localhost,db.example.net", "verify-full"),
        ("host=localhost", "prefer"),
        ("host=/run/postgresql", "prefer"),
        ("dbname=app", "prefer"),
        *[
            (f"host={host} sslmode={mode}", mode)
            for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
            for host in ("db.example.net", "localhost")
        ],
    ],
)
def test_L18_the_service_file_decides(
    way: str, lines: str, mode: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's host and sslmode count as if given here: nothing asked for is weakened, nothing overruled."""
    service(lines)
    if way == "environment":
        monkeypatch.setenv("PGSERVICE", "app")
        assert libpq()["sslmode"] == mode
    elif way == "key":
        assert libpq(service="app")["sslmode"] == mode
    else:
        assert libpq("service=app")["sslmode"] == mode


@pytest.mark.parametrize(
    ("url", "environment", "mode"),
    [
        ("host=localhost hostaddr=10.0.0.1", {}, "verify-full"),
        ("host=db.example.net hostaddr=127.0.0.1", {}, "verify-full"),
        ("host=localhost hostaddr=127.0.0.1", {}, "prefer"),
        ("host=localhost", {"PGHOSTADDR": "10.0.0.1"}, "verify-full"),
        ("dbname=app", {"PGHOSTADDR": "10.0.0.1"}, "verify-full"),
        ("dbname=app", {"PGHOST": "db.example.net"}, "verify-full"),
        ("dbname=app", {"PGHOST": "db.example.net", "PGSSLMODE": "prefer"}, "prefer"),
        ("dbname=app", {"PGHOST": "localhost", "PGSSLMODE": "verify-full"}, "verify-full"),
        ("host=db.example.net", {"PGREQUIRESSL": "1"}, "require"),
        ("host=localhost", {"PGSERVICE": "app"}, "prefer"),
        ("host=db.example.net sslmode=require", {"PGSSLMODE": "disable"}, "require"),
        ("host=db.example.net sslrootcert=system", {}, "verify-full"),
    ],
)
def test_L18_the_environment_decides_what_is_not_given(
    url: str, environment: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that is connected to counts, wherever it stands; a given sslmode counts, wherever it stands."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert libpq(url)["sslmode"] == mode


def test_L18_a_service_that_cannot_be_read_weakens_nothing() -> None:
    """Without its definition nobody knows the host, which may be anywhere."""
    assert used_by_libpq({"service": "absent"}) is None
    assert not asks_for_sslmode({"service": "absent"})
    assert default_sslmode({"service": "absent"}) == "verify-full"
    assert libpq("service=absent sslmode=disable")["sslmode"] == "disable"


def test_L18_an_older_libpq_gets_the_safe_mode(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not tell a `prefer` of the service file from its own default verifies; other modes are kept."""
    monkeypatch.setattr(pq, "version", lambda: 150_000)
    service("host=db.example.net sslmode=prefer")
    assert libpq(service="app")["sslmode"] == "verify-full"
    assert libpq(service="app", sslmode="prefer")["sslmode"] == "prefer"
    service("host=db.example.net sslmode=require")
    assert libpq(service="app")["sslmode"] == "require"


def test_L18_other_defaults_of_ours_give_way_to_the_service_file(service: Service) -> None:
    """Keepalives, the ways to authenticate and the kind of session are the service's where it names them."""
    service("host=localhost keepalives_idle=77 require_auth=scram-sha-256 target_session_attrs=primary")
    found = libpq(service="app")
    assert found.get("keepalives_idle", "77") == "77"
    assert found["keepalives_count"] == 3
    assert found["require_auth"] == "scram-sha-256"
    assert found["target_session_attrs"] == "primary"
    service("host=localhost target_session_attrs=any")
    assert libpq(service="app")["target_session_attrs"] == "read-write"
    assert libpq(service="app")["require_auth"] == "!password"


def test_L18_a_service_file_cannot_turn_keepalives_off(service: Service) -> None:
    """tcp_user_timeout would go with them; in URL and parameters they are refused for that."""
    service("host=localhost keepalives=0")
    assert libpq(service="app")["keepalives"] == 1


def test_L18_hosts_of_the_service_are_counted_and_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit covers each of them, PGHOST is not connected to instead, and errors name where it was tried."""
    service("host=a.example.net,b.example.net port=6000,6001 dbname=actions")
    monkeypatch.setenv("PGHOST", "elsewhere.example.net")
    monkeypatch.setenv("PGDATABASE", "other")
    settings = ConnectionSettings("x", parameters={"service": "app"}, connect_timeout_seconds=5.0)
    assert settings.longest_connect_seconds() == 11.0
    assert settings.libpq()["host"] == "a.example.net,b.example.net"
    assert addresses(settings.libpq()) == "a.example.net:6000, b.example.net:6001"
    assert addresses({"hostaddr": "10.0.0.1"}) == "10.0.0.1:5432"
    assert addresses({"dbname": "app"}) == "elsewhere.example.net:5432"
    assert load({"database": {"service": "app"}}).name == "actions"
