"""The daemon with exactly the role that deploy/sql/grants.sql makes, and not one right more."""

import psycopg
import pytest

from tests.acceptance.conftest import ROLE
from tests.support.daemon import Daemon, Settings, command
from tests.support.faults import act
from tests.support.postgres import Server


@pytest.mark.fault
@pytest.mark.parametrize(
    "isolation", [pytest.param("cycle", marks=pytest.mark.quick), pytest.param("view", marks=pytest.mark.nightly)]
)
def test_H12_the_least_privileged_role_suffices(granted: Server, isolation: str) -> None:
    """Refresh, history, alerts, pauses, status and check all work; nothing else of the database is open to the role."""
    dsn = granted.dsn(user=ROLE)
    fast: Settings = {"schedule__interval": "2s", "refresh__isolation": isolation}
    with granted.connect() as owner:
        act(owner, "a")
    with Daemon(dsn, **fast) as daemon:
        line = daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=2)
        assert len(line["views"]) == 4
        assert line["isolation"] == isolation
        daemon.until(lambda: daemon.metric("analytics_view_age_minutes", view="recent_failures") is not None)
        daemon.until(lambda: daemon.metric("analytics_view_size_bytes", view="recent_failures") is not None)
        daemon.until(lambda: daemon.metric("analytics_success_rate_percent") is not None)
        assert daemon.metric("analytics_view_rows", view="recent_failures") == 1
        assert daemon.events("history.pending") == []
        assert command(dsn, "status", **fast).returncode == 0
        assert command(dsn, "pause", "--for", "1h", "--reason", "a test", **fast).returncode == 0
        assert command(dsn, "resume", **fast).returncode == 0
        checked = command(dsn, "check", **fast)
        assert checked.returncode == 0, checked.stdout
        assert daemon.stop() == 0
    with psycopg.connect(dsn, autocommit=True) as own:
        for statement in (
            "select error_message from public.recent_failures",
            "delete from analytics_refresh.view_results",
            "delete from public.action_results",
            "drop materialized view public.recent_failures",
            "create table public.mine ()",
            "drop table analytics_refresh.runs",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(statement)
