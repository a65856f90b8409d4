"""Section A of the fault matrix: disk and temporary space run out."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.support.daemon import Daemon, Settings
from tests.support.faults import (
    FAST,
    SLOT,
    Connection,
    FaultServer,
    fired,
    result_of,
)

pytestmark = pytest.mark.fault

LATER: Settings = {"alerts__failed_after_runs": 100}
"""Only what alerts at once does so during a test."""


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def others(line: dict[str, Any], view: str) -> list[dict[str, Any]]:
    return [part for part in line["views"] if part["view"] != view]


@pytest.fixture
def small_disk(fault_server: FaultServer, tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB that the server may use."""
    folder = fault_server.server.folder / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    space = folder / "space"
    space.mkdir()
    if fault_server.server.user:
        shutil.chown(space, fault_server.server.user)
    try:
        yield space
    finally:
        fault_server.server.stop("immediate")
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.quick
def test_A20_disk_full_in_tablespace(fault_server: FaultServer, small_disk: Path) -> None:
    """A full disk fails one view, is critical at once, is not tried again before the next slot, and passes."""
    with fault_server.connect() as connection:
        connection.execute(sql.SQL("create tablespace small location {}").format(sql.Literal(str(small_disk))))
        connection.execute("alter materialized view recent_failures set tablespace small")
        connection.execute(
            "insert into action_results (id, job_id, action_type, status, error_message)"
            " select i::text, 'j', 'rest', 'failed', (select string_agg(md5(i || '-' || j), '')"
            " from generate_series(1, 50) j) from generate_series(1, 10000) i"
        )
        with Daemon(fault_server.dsn, **SLOT, **LATER) as daemon:
            line = daemon.wait_for("refresh.finished")
            failed = result_of(line, "recent_failures")
            assert (failed["sqlstate"], failed["reason"], line["attempts"]) == ("53100", "disk_full", 1)
            assert all(part["success"] for part in others(line, "recent_failures"))
            assert fired(daemon, "AnalyticsDatabaseDiskFull")["severity"] == "critical"
            assert daemon.events("refresh.retry") == []
            assert daemon.stop() == 0
        log = (fault_server.server.folder / "log").read_text()
        assert log.count("No space left on device") <= 4


def test_A21_temporary_space_exhausted(dsn: str, connection: Connection) -> None:
    """Temporary space at its limit is the same as a full disk: one attempt, critical, and over when there is space."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, error_message)"
        " select i::text, 'j', 'rest', 'failed', md5(i::text) from generate_series(1, 20000) i"
    )
    name = sql.Identifier(connection.info.dbname)
    for setting in ("temp_file_limit = '64kB'", "work_mem = '64kB'"):
        connection.execute(sql.SQL("alter database {} set " + setting).format(name))
    with Daemon(dsn, **FAST | {"schedule__interval": "8s"}, **LATER) as daemon:
        line = daemon.wait_for("refresh.finished")
        failed = [part for part in line["views"] if not part["success"]]
        assert failed
        assert {(part["sqlstate"], part["reason"]) for part in failed} == {("53400", "disk_full")}
        assert line["attempts"] == 1
        assert fired(daemon, "AnalyticsDatabaseDiskFull")["severity"] == "critical"
        assert daemon.events("refresh.retry") == []
        connection.execute(sql.SQL("alter database {} reset temp_file_limit").format(name))
        with psycopg.connect(dsn, autocommit=True) as fresh:
            # all of them: the one that refreshes is named after its run while there is one
            fresh.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database()"
                " and application_name like 'analytics-refreshd/%'"
            )
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsDatabaseDiskFull")
        assert daemon.stop() == 0


def test_A21_no_temporary_space_for_the_call_itself(dsn: str, connection: Connection) -> None:
    """Where the call as a whole runs out of space nothing is refreshed, and that too is one attempt and critical."""
    connection.execute("drop function refresh_action_analytics()")
    connection.execute(
        "create function refresh_action_analytics() returns table (view_name text, refresh_duration_ms integer,"
        " rows_refreshed bigint, success boolean, error_message text) language plpgsql as $f$ begin"
        " perform md5(i::text) from generate_series(1, 20000) i order by 1; end $f$"
    )
    name = sql.Identifier(connection.info.dbname)
    for setting in ("temp_file_limit = '64kB'", "work_mem = '64kB'"):
        connection.execute(sql.SQL("alter database {} set " + setting).format(name))
    with Daemon(dsn, **SLOT, **LATER) as daemon:
        line = daemon.wait_for("refresh.finished")
        found = (line["outcome"], line["sqlstate"], line["reason"], line["attempts"])
        assert found == ("failed", "53400", "disk_full", 1)
        assert not any(part["success"] for part in line["views"])
        assert fired(daemon, "AnalyticsDatabaseDiskFull")["severity"] == "critical"
        assert daemon.events("refresh.retry") == []
        assert daemon.stop() == 0
