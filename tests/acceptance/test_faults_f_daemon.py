"""Section F with real daemons: what fires outlives the process that told of it."""

from functools import partial

import psycopg
import pytest

from tests.support.daemon import Daemon, Settings
from tests.support.faults import FAST, Connection, FaultServer, fired, value
from tests.support.receivers import Receiver, receiver
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault

VIEW = "recent_failures"
ALERT = "AnalyticsRefreshFailed"


def paging(url: str, replica: str) -> Settings:
    """The settings of a replica that pages a webhook."""
    return FAST | {"service__replica": replica, "receivers__pager__type": "webhook", "receivers__pager__url": url}


def break_view(connection: Connection) -> None:
    """Take away the index without which the view cannot be refreshed."""
    connection.execute("drop index idx_recent_failures_unique")


def mend_view(connection: Connection) -> None:
    """Give it back."""
    connection.execute("create unique index idx_recent_failures_unique on recent_failures (id)")


def pages(server: Receiver) -> list[dict[str, object]]:
    """What the webhook heard of the broken view."""
    # a daemon that is killed while it sends leaves a request without its body
    whole = [got for got in list(server.got) if got.body]
    return [one for got in whole for one in got.alerts if (one["alert"], one["view"]) == (ALERT, VIEW)]


def outages(server: Receiver) -> list[dict[str, object]]:
    """What the webhook heard of the database's absence."""
    return [one for got in list(server.got) for one in got.alerts if one["alert"] == "AnalyticsDatabaseUnavailable"]


def delivered(connection: Connection) -> int:
    """How many messages about the broken view the database remembers as accepted."""
    return int(value(connection, "select count(*) from analytics_refresh.deliveries where alert_key like '%Failed/%'"))


def test_F06_a_daemon_killed_while_an_alert_fires_pages_once_and_resolves(dsn: str, connection: Connection) -> None:
    """kill -9 and a restart: no second page, no false resolution, and the resolution when it is true."""
    with receiver() as server:
        break_view(connection)
        with Daemon(dsn, **paging(server.url, "one")) as daemon:
            fired(daemon, ALERT, VIEW)
            eventually(lambda: delivered(connection) == 1)
            daemon.process.kill()
            daemon.process.wait(30)
        with Daemon(dsn, **paging(server.url, "one")) as daemon:
            daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "partial", count=2)
            assert [page["status"] for page in pages(server)] == ["firing"]
            mend_view(connection)
            eventually(lambda: len(pages(server)) == 2)
        first, last = pages(server)
        assert (first["status"], last["status"]) == ("firing", "resolved")
        assert first["key"] == last["key"]
        assert first["started_at"] == last["started_at"]
        assert "55000" in str(first["description"])


@pytest.mark.quick
def test_F07_a_standby_that_takes_over_pages_nobody_again(dsn: str, connection: Connection) -> None:
    """The leader dies while an alert fires: the new leader says nothing until it is over, under the same key."""
    with receiver() as server:
        break_view(connection)
        with Daemon(dsn, **paging(server.url, "one")) as leader, Daemon(dsn, **paging(server.url, "two")) as standby:
            daemons = {"one": leader, "two": standby}
            eventually(lambda: delivered(connection) == 1)
            sender = str(pages(server)[0]["replica"])
            daemons.pop(sender).process.kill()
            (other,) = daemons.values()
            other.wait_for("leader.acquired")
            other.wait_for("refresh.finished", lambda line: line["outcome"] == "partial", count=2)
            assert len(pages(server)) == 1
            mend_view(connection)
            eventually(lambda: len(pages(server)) == 2)
        first, last = pages(server)
        assert (first["status"], last["status"]) == ("firing", "resolved")
        assert first["key"] == last["key"]
        assert first["replica"] != last["replica"]


def fires(daemon: Daemon) -> bool:
    """Whether the daemon shows the alert as firing."""
    return daemon.metric("analytics_alerts_firing", alert=ALERT, view=VIEW) == 1


def test_F09_a_standby_pages_the_absent_database_alone_and_its_end(fault_server: FaultServer) -> None:
    """An outage while an alert fires: nothing is paged again, each replica pages the outage once, and resolves it."""
    waiting: Settings = {"alerts__database_unavailable_for": "3s"}
    with receiver() as server:
        with fault_server.connect() as connection:
            break_view(connection)
        with (
            Daemon(fault_server.dsn, **paging(server.url, "one"), **waiting) as one,
            Daemon(fault_server.dsn, **paging(server.url, "two"), **waiting) as two,
        ):
            with fault_server.connect() as connection:
                eventually(lambda: delivered(connection) == 1)
            for daemon in (one, two):
                eventually(partial(fires, daemon))
            fault_server.server.stop("immediate")
            for daemon in (one, two):
                fired(daemon, "AnalyticsDatabaseUnavailable")
            eventually(lambda: len(outages(server)) == 2)
            fault_server.server.start()
            eventually(lambda: len(outages(server)) == 4)
            assert {one.stop(), two.stop()} == {0}
        assert [page["status"] for page in pages(server)] == ["firing"]
        for replica in ("one", "two"):
            first, last = [page for page in outages(server) if page["replica"] == replica]
            assert (first["status"], last["status"]) == ("firing", "resolved")
            assert first["key"] == last["key"]


def test_F04_a_webhooks_address_is_in_no_line_of_the_log(dsn: str, connection: psycopg.Connection[object]) -> None:
    """The path of a webhook's address is a secret: a refusal names receiver, host and status only."""
    with receiver(404) as server:
        break_view(connection)
        with Daemon(dsn, **paging(f"{server.url}/services/CANARY-7f3a", "one")) as daemon:
            line = daemon.wait_for("alert.delivery_failed")
            assert (line["receiver"], line["error"]) == ("pager", "HTTP 404")
            assert line["host"] == f"127.0.0.1:{server.port}"
            status, text = daemon.get("/metrics")
            assert status == 200
            assert "CANARY" not in text + daemon.get("/")[1] + daemon.get("/status.json")[1]
            assert (daemon.metric("analytics_alert_delivery_failures_total", receiver="pager") or 0) >= 1
        assert "CANARY" not in "\n".join(daemon.raw)
