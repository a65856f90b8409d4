"""A server that takes no writes any more, as hosted ones do on a full disk: told as one outage, and over at once."""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import sql

from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.daemon import Daemon, Settings
from tests.support.faults import FAST, Connection, alerts_of, fired
from tests.support.installs import install_older
from tests.support.postgres import Server

pytestmark = pytest.mark.fault

_QUICK: Settings = FAST | {
    "alerts__database_unavailable_for": "8s",
    "alerts__history_failing_for": "6s",
    "staleness__max_age": "8s",
}

_SYMPTOMS = ("AnalyticsViewStale", "AnalyticsHistoryFailing", "AnalyticsRefreshFailed", "AnalyticsNoLeader")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server().start()
    try:
        create_application(made.dsn())
        yield made
    finally:
        made.destroy()


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def _write(connection: Connection, *, allowed: bool, how: str) -> None:
    """Let nobody write, or everybody again: sessions that are there notice as well, or new ones alone."""
    connection.execute("set default_transaction_read_only = off")
    value = "off" if allowed else "on"
    if how == "every session":
        connection.execute(sql.SQL("alter system set default_transaction_read_only = {}").format(sql.SQL(value)))
        connection.execute("select pg_reload_conf()")
    else:
        connection.execute(sql.SQL("alter role postgres set default_transaction_read_only = {}").format(sql.SQL(value)))
        # the session that holds the lead
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like '%/leader'"
        )


@pytest.mark.parametrize(
    ("install", "how"),
    [
        pytest.param("older", "every session", marks=pytest.mark.nightly),
        ("ours", "every session"),
        pytest.param("older", "new sessions", marks=pytest.mark.nightly),
        pytest.param("ours", "new sessions", marks=pytest.mark.nightly),
    ],
)
def test_L14_a_server_that_turns_read_only_is_one_outage(server: Server, install: str, how: str) -> None:
    """The alert fires though old sessions still answer; nothing flaps, and nothing else is told when it is over."""
    with server.connect() as connection:
        if install == "older":
            install_older(connection)
        else:
            migrate(connection, app_schema="public")
        with Daemon(server.dsn(), **_QUICK) as daemon:
            daemon.wait_for("refresh.finished", ok, count=2)
            told = len(alerts_of(daemon, *_SYMPTOMS))
            _write(connection, allowed=False, how=how)
            assert fired(daemon, "AnalyticsDatabaseUnavailable")["severity"] == "critical"
            # a session that is ended, and replaced or not, may be a short outage of its own
            shorter = 0 if how == "every session" else len(daemon.events("database.restored"))
            assert shorter <= 1
            assert (len(daemon.events("database.lost")), len(daemon.events("database.restored"))) == (
                1 + shorter,
                shorter,
            )
            assert daemon.metric("analytics_database_up") == 0
            assert "read-only" in daemon.get("/readyz")[1]
            _write(connection, allowed=True, how=how)
            daemon.wait_for("database.restored")
            before = len([*filter(ok, daemon.events("refresh.finished"))])
            daemon.wait_for("refresh.finished", ok, count=before + 3)
            daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsDatabaseUnavailable")
            assert len(daemon.events("database.lost")) == len(daemon.events("database.restored")) == 1 + shorter
            assert alerts_of(daemon, *_SYMPTOMS)[told:] == []
            assert daemon.metric("analytics_database_up") == 1
            assert daemon.stop() == 0
