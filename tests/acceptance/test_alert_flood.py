"""Fifty views that fail at once for one reason are told together, once when they fail and once when they are well."""

import math
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.notify.receivers.webhook import _MOST_ALERTS
from tests.support.daemon import Daemon, command
from tests.support.faults import FAST
from tests.support.receivers import Receiver, receiver

pytestmark = pytest.mark.slow

OWN = [f"own_view_{number:02}" for number in range(50 - len(VIEWS))]
ALERT = "AnalyticsRefreshFailed"


def messages(hook: Receiver, status: str) -> list[list[str]]:
    """The views that each message about failed refreshes tells of."""
    told = [[a["view"] for a in got.alerts if (a["alert"], a["status"]) == (ALERT, status)] for got in list(hook.got)]
    return [views for views in told if views]


def divide_by(daemon: Daemon, dsn: str, connection: psycopg.Connection[Any], number: int) -> None:
    """Break or mend all views of our own between two runs: within one, each view's transaction sees what is then so."""
    skipped = len(daemon.events("refresh.skipped"))
    assert command(dsn, "pause", "--for", "1h", "--reason", "between two runs").returncode == 0
    daemon.wait_for("refresh.skipped", lambda line: line["reason"] == "paused", count=skipped + 1)
    connection.execute("update divisor set n = %s", (number,))
    assert command(dsn, "resume").returncode == 0


def test_fifty_views_that_fail_for_one_reason_are_told_together(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """A message for each of them would be a flood that buries what it tells; one holds twenty alerts at most."""
    connection.execute("create table divisor (n integer); insert into divisor values (1)")
    # ours refuses other views than the four; without it each is refreshed directly
    connection.execute("drop function refresh_action_analytics_view(text)")
    for view in OWN:
        connection.execute(f"create materialized view {view} as select 1 as id, 1 / n as share from divisor")
        connection.execute(f"create unique index on {view} (id)")
    settings = FAST | {
        # long enough for all of them on a busy machine: what a deadline cuts off has not failed
        "schedule__interval": "8s",
        "refresh__views": [*VIEWS, *OWN],
        "refresh__isolation": "view",
        "refresh__parallel": 4,
        "receivers__pager__type": "webhook",
    }
    with receiver() as hook, Daemon(dsn, receivers__pager__url=hook.url, **settings) as daemon:
        daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
        divide_by(daemon, dsn, connection, 0)
        daemon.until(lambda: sum(map(len, messages(hook, "firing"))) >= len(OWN))
        divide_by(daemon, dsn, connection, 1)
        daemon.until(lambda: sum(map(len, messages(hook, "resolved"))) >= len(OWN))
        assert daemon.stop() == 0
    for status in ("firing", "resolved"):
        told = messages(hook, status)
        # each view once, in as few messages as hold them
        assert sorted(view for views in told for view in views) == OWN, status
        assert len(told) == math.ceil(len(OWN) / _MOST_ALERTS), status
