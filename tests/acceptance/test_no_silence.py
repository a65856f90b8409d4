"""The daemon where it could fall silent: other encodings, parts that fail, an evaluation that does not end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.evaluating import stuck_seconds
from analytics_refreshd.postgres.connection.connector import Profile
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.adapters import connector
from tests.support.daemon import Daemon
from tests.support.faults import FAST, fired, value
from tests.support.installs import make_stretchable, stretch
from tests.support.postgres import Server
from tests.support.receivers import Receiver, receiver

pytestmark = pytest.mark.fault


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def to(hook: Receiver) -> dict[str, Any]:
    """Settings that deliver to a webhook."""
    return {"receivers__hook__type": "webhook", "receivers__hook__url": hook.url}


def told(hook: Receiver) -> set[tuple[str, str]]:
    """What the webhook was told: pairs of alert and status."""
    return {(got.json["alert"], got.json["status"]) for got in list(hook.got)}


@pytest.fixture(scope="module")
def encoded() -> Iterator[Server]:
    """One with databases of other encodings."""
    made = Server().start()
    with made.connect() as admin:
        for encoding in ("latin1", "sql_ascii"):
            admin.execute(f"create database {encoding} template template0 encoding '{encoding}' locale 'C'")
    yield made
    made.destroy()


@pytest.mark.quick
@pytest.mark.parametrize("encoding", ["latin1", "sql_ascii"])
def test_L10_a_database_of_another_encoding_hears_and_tells_all(encoded: Server, encoding: str) -> None:
    """Views are refreshed, and history and webhooks have every failure, whatever characters its text has."""
    dsn = encoded.dsn(encoding)
    create_application(dsn)
    with connector(dsn).connect("migrate", Profile()) as ours:
        migrate(ours)
    with psycopg.connect(dsn, autocommit=True, client_encoding="UTF8") as admin, receiver() as hook:
        make_stretchable(admin)
        admin.execute(f"alter database {encoding} set datestyle = 'German'")
        stretch(admin, "recent_failures", message="caf\u00e9 " + "x" * 2000)
        with Daemon(dsn, **FAST, **to(hook)) as daemon:
            line = fired(daemon, "AnalyticsRefreshFailed", "recent_failures")
            assert "caf\u00e9" in line["description"] or encoding == "sql_ascii"
            daemon.until(lambda: ("AnalyticsRefreshFailed", "firing") in told(hook))
            stretch(admin, "recent_failures")
            daemon.until(lambda: ("AnalyticsRefreshFailed", "resolved") in told(hook))
            daemon.wait_for("refresh.finished", ok)
            assert daemon.stop() == 0
        assert value(admin, "select count(*) from analytics_refresh.runs where outcome is null") == 0
        assert value(admin, "select count(*) from analytics_refresh.runs where outcome = 'partial' and error <> ''") > 0
        assert daemon.events("history.pending") == []
        assert daemon.events("part.failed") == []


def test_L11_an_evaluation_that_hangs_is_told_of(dsn: str, tmp_path: Path) -> None:
    """The main loop tells of it, in log, gauge and webhook; what fires is repeated; it resolves when it goes on."""
    hold = tmp_path / "hold"
    broken = f"""
        import pathlib, time
        from analytics_refreshd.app.alerts import AlertEvaluator
        look = AlertEvaluator.log_stale_views
        def hanging(self):
            while pathlib.Path({str(hold)!r}).exists():
                time.sleep(0.05)
            look(self)
        AlertEvaluator.log_stale_views = hanging
    """
    with receiver() as hook, Daemon(dsn, broken=broken, **FAST, **to(hook)) as daemon:
        daemon.wait_for("refresh.finished", ok)
        hold.touch()
        fired(daemon, "AnalyticsEvaluationStuck")
        assert daemon.metric("analytics_alerts_firing", alert="AnalyticsEvaluationStuck") == 1
        assert (daemon.metric("analytics_evaluation_silent_seconds") or 0) > stuck_seconds(2.0)
        daemon.until(lambda: ("AnalyticsEvaluationStuck", "firing") in told(hook))
        assert daemon.get("/livez")[0] == 200
        hold.unlink()
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsEvaluationStuck")
        daemon.until(lambda: ("AnalyticsEvaluationStuck", "resolved") in told(hook))
        assert daemon.stop() == 0


def test_L11_an_evaluation_whose_parts_raise_goes_on(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """A reading that raises, and a store that refuses, keep no alert from being told."""
    broken = """
        from analytics_refreshd.postgres.state.alerts import PostgresAlertStore
        from analytics_refreshd.postgres.state.status import PostgresStatusReader
        def failing(self, *given, **named):
            raise NotImplementedError("can't parse timestamptz")
        PostgresAlertStore.save = failing
        PostgresStatusReader.pause = failing
        PostgresStatusReader.delta = failing
    """
    make_stretchable(connection)
    stretch(connection, "recent_failures", message="broken")
    with receiver() as hook, Daemon(dsn, broken=broken, **FAST, **to(hook)) as daemon:
        fired(daemon, "AnalyticsRefreshFailed", "recent_failures")
        daemon.until(lambda: ("AnalyticsRefreshFailed", "firing") in told(hook))
        # a run reads the pause, too
        assert {line["part"] for line in daemon.events("part.failed")} == {"alert_store", "delta", "pause"}
        assert (daemon.metric("analytics_part_failures_total", part="delta") or 0) >= 1
        assert daemon.stop() == 0
