"""The daemon feeds a warehouse, whatever happens to either; its refreshes never notice."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.warehouse import tables
from tests.acceptance.feeding import Feeding, caught_up, fed, refreshed, waiting
from tests.acceptance.test_incremental_daemon import write
from tests.support.clickhouse import ClickHouse, needs_chdb
from tests.support.daemon import command

pytestmark = needs_chdb
Connection = psycopg.Connection[Any]


@pytest.fixture
def feeding(dsn: str, connection: Connection, clickhouse: ClickHouse, tmp_path: Path) -> Feeding:
    """A database with rows, whose outbox and tables `migrate --warehouse` has made."""
    return fed(dsn, connection, clickhouse, tmp_path)


def test_W01_killed_between_landing_and_answer(feeding: Feeding, connection: Connection) -> None:
    """The next daemon sends the batch again, which counts once; until then it is seen to wait."""
    with feeding.daemon() as daemon:
        daemon.wait_for("warehouse.exported")
        write(connection, "second ")
        refreshed(daemon)
        caught_up(daemon, connection, feeding)
        daemon.until(lambda: daemon.metric("analytics_warehouse_lag_seconds") == 0)
        held = feeding.clickhouse.fault("hold after")
        before = feeding.landed()
        write(connection, "third ")
        held.wait()
        assert feeding.landed() == before + 1
        refreshed(daemon)
        assert waiting(connection) > 0
        daemon.until(lambda: (daemon.metric("analytics_warehouse_batches") or 0) > 0)
        daemon.process.kill()
        daemon.process.wait(60)
    held.release()
    # stale by now, and so said, but it says what waits
    assert "the oldest for" in command(feeding.dsn, "status", **feeding.settings).stdout
    with feeding.daemon() as daemon:
        write(connection, "fourth ")
        refreshed(daemon)
        caught_up(daemon, connection, feeding)
        assert daemon.stop() == 0
    feeding.exact()


def test_a_difference_is_found_and_exported_again(feeding: Feeding, connection: Connection) -> None:
    """A cell that somebody changed there is named, and gone after --rebuild."""
    with feeding.daemon() as daemon:
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
    feeding.settings["warehouse__keep"] = "20d"
    changed = feeding.command("migrate", "--warehouse").stdout
    assert "done: change how long rows stay in deltas of the warehouse" in changed
    assert feeding.command("migrate", "--no-warehouse").stdout == "done: drop the outbox\n"
    assert connection.execute("select to_regclass('analytics_refresh.outbox')").fetchone() == (None,)
