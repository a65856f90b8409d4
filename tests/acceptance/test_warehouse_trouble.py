"""The warehouse in trouble: refreshes go on, it is told once, what waited is sent, and every cell is right."""

import itertools
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.migrate.run import migrate
from tests.acceptance.feeding import Feeding, caught_up, fed, refreshed, told, waiting
from tests.acceptance.test_incremental_daemon import write
from tests.conftest import create_application
from tests.support.clickhouse import PASSWORD, ClickHouse, needs_chdb
from tests.support.daemon import Daemon
from tests.support.faults import value
from tests.support.hostile_clickhouse import hostile
from tests.support.machine import WallClock, faketime
from tests.support.postgres import Server

pytestmark = needs_chdb
Connection = psycopg.Connection[Any]
_numbers = itertools.count()
_SKEW_SECONDS = 40 * 86_400


@pytest.fixture
def feeding(dsn: str, connection: Connection, clickhouse: ClickHouse, tmp_path: Path) -> Feeding:
    """A database with rows, whose outbox and tables `migrate --warehouse` has made."""
    found = fed(dsn, connection, clickhouse, tmp_path)
    # every refresh is to be ok, also on a busy machine: time limits follow the interval
    found.settings["schedule__interval"] = "5s"
    return found


def refreshed_unharmed(daemon: Daemon, connection: Connection, cycles: int = 1) -> None:
    """Write before each of some cycles, and hold that all of them are ok."""
    before = len(daemon.events("refresh.finished"))
    for _ in range(cycles):
        write(connection, f"{next(_numbers)} ")
        refreshed(daemon)
    outcomes = [line["outcome"] for line in daemon.events("refresh.finished")[before:]]
    assert set(outcomes) == {"ok"}, outcomes


def failed_unharmed(daemon: Daemon, connection: Connection) -> None:
    """Write until the warehouse has failed twice, and hold that all refreshes meanwhile are ok."""
    before = len(daemon.events("refresh.finished"))
    write(connection, f"{next(_numbers)} ")
    daemon.wait_for("part.failed", lambda line: line["part"] == "warehouse")
    refreshed_unharmed(daemon, connection)
    daemon.until(lambda: (daemon.metric("analytics_part_failures_total", part="warehouse") or 0) >= 2)
    outcomes = [line["outcome"] for line in daemon.events("refresh.finished")[before:]]
    assert set(outcomes) == {"ok"}, outcomes


def recovered(daemon: Daemon, connection: Connection, feeding: Feeding, *errors: str) -> None:
    """Hold that each error was told once, and that nothing waits and every cell is right after one more cycle."""
    write(connection, "after ")
    refreshed(daemon)
    caught_up(daemon, connection, feeding)
    said = told(daemon)
    assert len(said) == len(errors), said
    assert all(error in line for error, line in zip(errors, said, strict=True)), said
    # its line comes after all cells are there
    daemon.wait_for("warehouse.exported")
    events = [line["event"] for line in list(daemon.lines)]
    # before that, where another database of this name was here
    since = events[events.index("warehouse.exported") :]
    assert "warehouse.restarted" not in since, "what waited was given up and exported again"
    assert daemon.stop() == 0
    feeding.exact()


def test_W03_a_host_that_does_not_answer(feeding: Feeding, connection: Connection) -> None:
    """A connection attempt that nobody answers ends by [warehouse] connect_timeout, and a stop does not wait for it."""
    with ExitStack() as stack:
        # a full queue of connections: the kernel drops what comes, as a dead host does
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(2):
            waiting_in_line = stack.enter_context(socket.socket())
            waiting_in_line.setblocking(False)
            waiting_in_line.connect_ex(deaf.getsockname())
        gone = {"warehouse__url": f"http://127.0.0.1:{deaf.getsockname()[1]}"}
        with feeding.daemon(**gone, warehouse__connect_timeout="1s") as daemon:
            failed_unharmed(daemon, connection)
            assert told(daemon) == [
                "the warehouse cannot be reached: it did not answer in time; look at [warehouse] url"
            ]
        before = connecting(deaf)
        with feeding.daemon(**gone, warehouse__connect_timeout="10m") as daemon:
            daemon.until(lambda: connecting(deaf) > before)
            write(connection, "meanwhile ")
            assert refreshed(daemon)["outcome"] == "ok"
            assert connecting(deaf) > before
            assert daemon.stop(within=30.0) == 0
    with feeding.daemon() as daemon:
        recovered(daemon, connection, feeding)


def connecting(listener: socket.socket) -> int:
    """Count the connection attempts that nobody has answered."""
    port = f":{listener.getsockname()[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[2].endswith(port) and line[3] == "02" for line in lines)


def test_W13_what_answers_is_no_clickhouse(feeding: Feeding, connection: Connection) -> None:
    """An answer that does not end is given up, and told once; refreshes and a stop wait for nothing."""
    with (
        hostile("an endless answer") as url,
        feeding.daemon(warehouse__url=url, warehouse__request_timeout="500ms") as daemon,
    ):
        failed_unharmed(daemon, connection)
        (said,) = told(daemon)
        assert said.startswith(
            ("the warehouse answered more than", "the warehouse cannot be reached: it did not answer")
        )
        assert daemon.stop() == 0


@pytest.mark.nightly
def test_W04_away_for_an_hour(feeding: Feeding, connection: Connection) -> None:
    """Twelve cycles without a warehouse: one line, one alert that ends, all batches sent in order, nothing exported."""
    with feeding.daemon(warehouse__behind_after="5s") as daemon:
        daemon.wait_for("warehouse.exported")
        refreshed_unharmed(daemon, connection)
        caught_up(daemon, connection, feeding)
        feeding.clickhouse.leave()
        try:
            refreshed_unharmed(daemon, connection, 12)
            assert waiting(connection) >= 10
            firing = daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsWarehouseBehind")
            assert firing["severity"] == "warning"
            daemon.until(lambda: (daemon.metric("analytics_warehouse_lag_seconds") or 0) > 5)
        finally:
            feeding.clickhouse.listen()
        recovered(daemon, connection, feeding, "the warehouse cannot be reached")
        assert len(daemon.events("warehouse.exported")) == 1
        assert len([line for line in daemon.events("alert.firing") if line["alert"] == "AnalyticsWarehouseBehind"]) == 1


@pytest.mark.nightly
def test_W05_disk_full_there(feeding: Feeding, connection: Connection) -> None:
    """Inserts that are refused for want of space, before an export and before a batch."""
    feeding.clickhouse.refusal = (243, "Cannot reserve 1.00 MiB, not enough space")
    try:
        with feeding.daemon() as daemon:
            refreshed_unharmed(daemon, connection)
            daemon.wait_for("part.failed", lambda line: line["part"] == "warehouse")
            feeding.clickhouse.refusal = None
            daemon.wait_for("warehouse.exported")
            feeding.clickhouse.refusal = (243, "Cannot reserve 1.00 MiB, not enough space")
            refreshed_unharmed(daemon, connection)
            daemon.wait_for("part.failed", lambda line: line["part"] == "warehouse", count=2)
            refreshed_unharmed(daemon, connection)
            assert waiting(connection) > 0
            feeding.clickhouse.refusal = None
            recovered(daemon, connection, feeding, *["its disk is full: make room there"] * 2)
    finally:
        feeding.clickhouse.refusal = None


@pytest.mark.parametrize(
    "table",
    [
        "deltas",
        *(
            pytest.param(name, marks=pytest.mark.nightly)
            for name in ("hour_totals", "trigger_retries", "action_type_distribution_incoming")
        ),
    ],
)
def test_W06_a_table_is_missing_there(feeding: Feeding, connection: Connection, table: str) -> None:
    """The one that batches land in, one that is fed from it, and one that is exchanged whole."""
    with feeding.daemon() as daemon:
        daemon.wait_for("warehouse.exported")
        feeding.client.execute(f"rename table analytics.{table} to analytics.elsewhere")
        failed_unharmed(daemon, connection)
        feeding.client.execute(f"rename table analytics.elsewhere to analytics.{table}")
        recovered(daemon, connection, feeding, "run analytics-refreshd migrate --warehouse")


def test_W06_a_column_is_missing_there(feeding: Feeding, connection: Connection) -> None:
    """A table of an older program gets its columns by the command that the log names."""
    with feeding.daemon() as daemon:
        daemon.wait_for("warehouse.exported")
        for table in ("action_type_distribution", "action_type_distribution_incoming"):
            feeding.client.execute(f"alter table analytics.{table} drop column total_retries")
        failed_unharmed(daemon, connection)
        done = feeding.command("migrate", "--warehouse")
        assert done.returncode == 0, done.stderr
        assert "done: add 2 columns in the warehouse" in done.stdout
        # a batch is acknowledged before the small tables are sent
        write(connection, "again ")
        there = "select sum(total_retries) from analytics.action_type_distribution where database = {name:String}"
        daemon.until(
            lambda: (
                feeding.client.one(there, int, name=feeding.client.settings.name)
                == [value(connection, "select sum(total_retries) from action_type_distribution")]
            )
        )
        recovered(
            daemon, connection, feeding, "a table there is older than this program: run analytics-refreshd migrate"
        )


def test_W07_a_wrong_password(feeding: Feeding, connection: Connection) -> None:
    """The right one is read from its file without a restart."""
    feeding.password.write_text("wrong")
    with feeding.daemon() as daemon:
        failed_unharmed(daemon, connection)
        feeding.password.write_text(PASSWORD)
        daemon.wait_for("warehouse.exported")
        recovered(daemon, connection, feeding, "it refused user or password: look at [warehouse] user")


@pytest.mark.nightly
@pytest.mark.parametrize("seconds", [-_SKEW_SECONDS, _SKEW_SECONDS])
def test_W08_clocks_apart(clickhouse: ClickHouse, tmp_path: Path, seconds: int) -> None:
    """PostgreSQL's clock is forty days from the warehouse's, and then right: the same figures, and the lag is true."""
    library = faketime()
    if library is None:
        pytest.skip("libfaketime is not installed")
    server = Server()
    clock = WallClock(library, server.folder)
    clock.step(seconds)
    server.environment = clock.environment
    try:
        server.start()
        create_application(server.dsn())
        with server.connect(options="-c timezone=UTC") as connection:
            assert abs(_skew(connection) - seconds) < 600
            migrate(connection)
            feeding = fed(server.dsn(), connection, clickhouse, tmp_path)
            # a server that asks a file for the time is slow
            with feeding.daemon(schedule__interval="8s") as daemon:
                daemon.wait_for("warehouse.exported")
                refreshed_unharmed(daemon, connection)
                caught_up(daemon, connection, feeding)
                # by PostgreSQL's clock alone: by any other it would be forty days, or none
                held = clickhouse.fault("hold after")
                write(connection, "held ")
                held.wait()
                daemon.until(lambda: (daemon.metric("analytics_warehouse_lag_seconds") or 0) > 0)
                assert (daemon.metric("analytics_warehouse_lag_seconds") or 0) < 600
                held.release()
                caught_up(daemon, connection, feeding)
                clock.step(0)
                assert abs(_skew(connection)) < 600
                # the server's own limits on sessions run by that clock, and end some: runs need not be ok at once
                refreshed(daemon)
                write(connection, "right ")
                refreshed(daemon)
                caught_up(daemon, connection, feeding)
                daemon.until(lambda: daemon.metric("analytics_warehouse_lag_seconds") == 0)
                recovered(daemon, connection, feeding)
    finally:
        server.destroy()


def _skew(connection: Connection) -> float:
    """How far the server's clock is from this machine's."""
    row = connection.execute("select extract(epoch from clock_timestamp())").fetchone()
    assert row is not None
    return float(row[0]) - time.time()
