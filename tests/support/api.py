"""The real API as a child process, and what a client sees of it."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from analytics_refreshd.api.access.limits import PER_HOUR
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.tenants.install import note_secret
from tests.support.daemon import Daemon, command
from tests.support.faults import Connection, as_role
from tests.support.installs import temporary_role
from tests.support.tenants import SECRET

BASE = "/api/v1/analytics"


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Api(Daemon):
    """`analytics-refreshd api`, started on entry and gone on exit."""

    command = "api"

    def __init__(self, dsn: str, secret: Path, **settings: Any) -> None:
        own = {"api__port": 0, "api__management_port": 0, "api__secret_file": secret, "log__level": "debug"}
        # a test's own limits, or none that it meets
        plenty = {"api__requests_per_hour": dict.fromkeys(PER_HOUR, 1_000_000), "api__burst": 1.0}
        given: Any = own | plenty | settings
        super().__init__(dsn, **given)

    @property
    def port(self) -> int:
        """The port of requests."""
        return int(self.wait_for("api.started")["http"].rsplit(":", 1)[1])

    @property
    def management(self) -> int:
        """The port of metrics and probes."""
        return int(self.wait_for("api.started")["management"].rsplit(":", 1)[1])

    def ask(
        self,
        path: str,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """Send a request for a path below the base, or for a whole one."""
        whole = path if path.startswith("/") else f"{BASE}/{path}"
        return ask(self.port, whole, {**({"X-API-Key": key} if key else {}), **(headers or {})}, method, body)

    def post(
        self,
        path: str,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> Answer:
        """Ask for an action, with these members of its body."""
        own = {"Content-Type": "application/json", **(headers or {})}
        return self.ask(f"/api/v1/{path}", key, own, "POST", json.dumps(members or {}).encode())

    def probe(self, path: str) -> Answer:
        """Send a request to the port of metrics and probes."""
        return ask(self.management, path, {}, "GET")


def ask(port: int, path: str, headers: Mapping[str, str], method: str, body: bytes | None = None) -> Answer:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers=dict(headers))
        found = connection.getresponse()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
    finally:
        connection.close()


def problem(answer: Answer) -> tuple[int, str]:
    """Status and code of a problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.body
    return answer.status, answer.json["error"]


def counted(api: Api, name: str) -> dict[str, float]:
    """The values of a counter without `_total`, by its own label."""
    text = api.probe("/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    found: dict[str, float] = {}
    for sample in families[name].samples:
        (own,) = (value for label, value in sample.labels.items() if label not in ("database", "process"))
        found[own] = sample.value
    return found


@contextmanager
def api_role(dsn: str, connection: Connection, folder: Path) -> Iterator[tuple[str, Path]]:
    """Install what the API needs; yield the database as its role sees it, and the secret's file."""
    with temporary_role(connection) as role:
        yield install_api(dsn, connection, role, folder)


def install_api(dsn: str, connection: Connection, role: str, folder: Path) -> tuple[str, Path]:
    """Install what the API needs, for a role that is made where it is missing."""
    from tests.integration.test_migrate_roles import psql

    migrate(connection, tenants=True)
    note_secret(connection, "public", SECRET)
    secret = folder / "api-secret"
    secret.write_bytes(SECRET)
    psql(dsn, "api.sql", "-v", f"role={role}")
    return as_role(dsn, role), secret


def make_key(dsn: str, *options: str) -> str:
    """Make a key with `keys create`."""
    done = command(dsn, "keys", "create", "test", *options, "--format", "json")
    assert done.returncode == 0, done.stderr
    key: str = json.loads(done.stdout)["key"]
    return key
