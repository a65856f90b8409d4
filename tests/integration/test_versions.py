"""Every version of PostgreSQL that README names: from an empty database through both modes to the removal."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from analytics_refreshd.postgres.check import run, server
from analytics_refreshd.postgres.connection.versions import TESTED_VERSIONS
from tests.conftest import create_application
from tests.support.adapters import connector
from tests.support.incremental import Changes, refresh_and_compare
from tests.support.ordinary import Call, Done, commands
from tests.support.postgres import PROGRAMS, Server


def _version(version: int) -> object:
    missing = pytest.mark.skipif(not PROGRAMS[version].exists(), reason=f"PostgreSQL {version} is not installed")
    # those between run at night, with all other tests of the database; on the newest all other tests run
    night = [] if version == TESTED_VERSIONS[0] else [pytest.mark.nightly]
    return pytest.param(version, marks=[missing, pytest.mark.slow, *night])


@pytest.fixture(params=[_version(version) for version in TESTED_VERSIONS])
def dsn_of_version(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A server of each version, with the application's empty tables."""
    made = Server(programs=PROGRAMS[request.param]).start()
    try:
        create_application(made.dsn())
        yield made.dsn(), request.param
    finally:
        made.destroy()


def _all(dsn: str, *lines: str) -> list[Done]:
    """Run commands on this database in one process; each must end with 0."""
    calls = []
    for line in lines:
        environment = {"ANALYTICS_REFRESHD_DATABASE__URL": dsn}
        if line.endswith(" (per view)"):
            environment["ANALYTICS_REFRESHD_REFRESH__ISOLATION"] = "view"
        calls.append(Call(line.removesuffix(" (per view)").split(), environment))
    results = commands(*calls, user=os.getuid())
    assert [done.returncode for done in results] == [0] * len(lines), results
    return results


def test_L30_all_of_it_works_on_each_version(dsn_of_version: tuple[str, int]) -> None:
    """Both isolations refresh, the rollups stay exact, status and check are content, nothing of ours is left."""
    dsn, version = dsn_of_version
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        assert connection.info.server_version // 10_000 == version
        changes = Changes(connection, version)
        changes.copy()
        *_, checked = _all(dsn, "migrate", "refresh", "refresh (per view)", "status", "check --format json")
        assert "not tested" not in checked.stdout
        assert refresh_and_compare(connection) == {}
        _all(dsn, "migrate --incremental")
        for change in (changes.insert, changes.update, changes.upsert, changes.delete, changes.insert_many):
            change()
        _all(dsn, "refresh")
        assert refresh_and_compare(connection) == {}
        changes.update()
        _all(dsn, "refresh (per view)", "migrate --verify", "status", "check")
        assert refresh_and_compare(connection) == {}
        _all(dsn, "migrate --plain", "refresh", "migrate --uninstall")
        assert connection.execute("select to_regnamespace('analytics_refresh')").fetchone() == (None,)


def test_L30_check_says_of_a_newer_server_that_it_is_not_tested(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning in one line, with what to do; the daemon works on all the same."""

    def checked() -> list[run.Finding]:
        return run.run_checks(connector(dsn), run.CheckSettings(), lambda: datetime.now(UTC))

    known = checked()
    monkeypatch.setattr("analytics_refreshd.postgres.connection.versions.TESTED_VERSIONS", (14,))
    monkeypatch.setattr(server, "TESTED_VERSIONS", (14,))
    newer = checked()
    assert [each.level for each in known if each.name == "server"] == [run.Level.OK]
    (said,) = [each for each in newer if each.name == "server"]
    assert said.level is run.Level.WARNING
    assert "is not tested: 14 to 14 are" in said.text
    assert "pytest --dsn" in (said.remedy or "")
    others = [[(each.name, each.level) for each in found if each.name != "server"] for found in (known, newer)]
    assert others[0] == others[1]
