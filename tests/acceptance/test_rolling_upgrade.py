"""The program of version 0.1.0 and this one on one database: fenced from each other, and both able to write."""

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from analytics_refreshd import __version__
from analytics_refreshd.postgres.incremental import install as incremental
from tests.support.daemon import Daemon, Settings, command
from tests.support.earlier import Earlier, unpacked
from tests.support.incremental import Changes, differences
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]
Program = Callable[..., subprocess.CompletedProcess[str]]
# no run is to fail: by default one waits a tenth of its interval for a lock, and a busy `migrate` has it longer
SETTINGS: Settings = {"schedule__interval": "3s", "refresh__lock_timeout": "2s"}

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    """The program of version 0.1.0."""
    return Earlier(unpacked(tmp_path_factory.mktemp("earlier")))


@pytest.fixture
def database(application_dsn: str) -> Iterator[Connection]:
    """The application's tables with some rows."""
    with psycopg.connect(application_dsn, autocommit=True, options="-c timezone=UTC") as opened:
        Changes(opened, 9).copy()
        yield opened


class Watch:
    """What history and locks say of all programs so far."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def runs(self, replica: str) -> int:
        """How many whole runs a replica recorded."""
        query = "select count(*) from analytics_refresh.runs where replica = %s and outcome = 'ok'"
        row = self.connection.execute(query, [replica]).fetchone()
        return int(row[0]) if row else 0

    def refreshes(self, daemon: Daemon, replica: str) -> None:
        """Wait until this replica has recorded two more runs."""
        before = self.runs(replica)
        daemon.until(lambda: self.runs(replica) >= before + 2)

    def nothing_failed(self) -> None:
        """No run of any program failed."""
        bad = self.connection.execute(
            "select replica, outcome, error from analytics_refresh.runs"
            " where outcome not in ('ok', 'skipped', 'cancelled')"
        ).fetchall()
        assert bad == []


def fenced(dsn: str, connection: Connection, first: Program, second: Program) -> None:
    """While the first program refreshes, the second one skips; both write history."""
    with psycopg.connect(dsn) as blocker:
        blocker.execute("lock table action_results in access exclusive mode")
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(first, dsn, "refresh")
            fence = (
                "select count(*) from pg_locks where locktype = 'advisory' and classid = 2583 and objid = 2 and granted"
                " and database = (select oid from pg_database where datname = current_database())"
            )
            eventually(lambda: connection.execute(fence).fetchone() == (1,))
            skipped = second(dsn, "refresh")
            blocker.rollback()
            done = held.result(120)
    assert (skipped.returncode, "another refresh is running" in skipped.stderr) == (0, True), skipped.stderr
    assert done.returncode == 0, done.stdout + done.stderr


def both_write(earlier: Earlier, dsn: str, connection: Connection) -> None:
    """A single refresh by either program succeeds, and what each changed in the log is in the views."""
    for run in (lambda: earlier.command(dsn, "refresh"), lambda: command(dsn, "refresh")):
        Changes(connection, 11).update()

        def refreshed(run: Callable[[], Any] = run) -> bool:
            done = run()
            assert done.returncode == 0, done.stdout + done.stderr
            return "skipped" not in done.stderr

        # a daemon's own slot may hold the fence just now
        eventually(refreshed)
    for program in (earlier.command, command):
        told = program(dsn, "status", "--format", "json")
        assert told.returncode in (0, 1), told.stderr
        assert {view["verdict"] for view in json.loads(told.stdout)["views"]} <= {"fresh", "late"}


@pytest.mark.parametrize("mode", [pytest.param("plain", marks=pytest.mark.nightly), "incremental"])
def test_L09_a_rolling_upgrade_and_back(
    earlier: Earlier, application_dsn: str, database: Connection, mode: str
) -> None:
    """Database first, then one replica after the other, and back: never two at once, never one that cannot write."""
    dsn, watch = application_dsn, Watch(database)
    assert earlier.command(dsn, "--version").stdout.split()[-1] == "0.1.0" != __version__
    assert earlier.command(dsn, "migrate").returncode == 0
    if mode == "incremental":
        assert earlier.command(dsn, "migrate", "--incremental").returncode == 0
    with earlier.daemon(dsn, **SETTINGS, service__replica="old-one") as old_one:
        watch.refreshes(old_one, "old-one")
        migrated = command(dsn, "migrate")
        assert migrated.returncode == 0, migrated.stderr
        watch.refreshes(old_one, "old-one")
        with Daemon(dsn, **SETTINGS, service__replica="new-one") as new_one:
            new_one.until(lambda: new_one.get("/readyz")[0] == 200)
            watch.refreshes(old_one, "old-one")
            assert watch.runs("new-one") == 0
            assert old_one.stop() == 0
            watch.refreshes(new_one, "new-one")
            both_write(earlier, dsn, database)
            # and back
            with earlier.daemon(dsn, **SETTINGS, service__replica="old-two") as old_two:
                old_two.until(lambda: old_two.get("/readyz")[0] == 200)
                watch.refreshes(new_one, "new-one")
                assert watch.runs("old-two") == 0
                assert new_one.stop() == 0
                watch.refreshes(old_two, "old-two")
                both_write(earlier, dsn, database)
                assert old_two.stop() == 0
    watch.nothing_failed()
    fenced(dsn, database, earlier.command, command)
    fenced(dsn, database, command, earlier.command)
    with database.transaction():
        failed = database.execute("select * from refresh_action_analytics() where not success").fetchall()
        assert failed == []
        assert differences(database) == {}
    if mode == "incremental":
        assert incremental.state(database).mode == "incremental"
    verified = command(dsn, "migrate", "--verify")
    assert verified.returncode == 0, verified.stdout
