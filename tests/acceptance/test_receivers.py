"""The real daemon delivers one alert to every type of receiver, and shows none of their secrets."""

from pathlib import Path

import psycopg
import pytest

from tests.support.daemon import Daemon
from tests.support.faults import FAST
from tests.support.receivers import Receiver, receiver
from tests.support.waiting import eventually
from tests.unit import test_notify_pagerduty, test_notify_slack

VIEW = "recent_failures"


def states(server: Receiver) -> list[str]:
    """What PagerDuty was told of the broken view."""
    return [got.json["event_action"] for got in list(server.got) if f"Failed/{VIEW}/" in got.json["dedup_key"]]


@pytest.mark.quick
def test_chat_and_pager_hear_of_a_broken_view_and_of_its_repair(
    dsn: str, connection: psycopg.Connection[object], tmp_path: Path
) -> None:
    """Firing and resolved reach both in their formats; log, page, metrics and status name them and no secret."""
    with (
        receiver(200, schema=test_notify_slack.SCHEMA) as slack,
        receiver(202, schema=test_notify_pagerduty.SCHEMA) as pagerduty,
    ):
        (tmp_path / "url").write_text(f"{slack.url}/services/CANARY-7f3a\n")
        (tmp_path / "key").write_text(f"{test_notify_pagerduty.ROUTING_KEY}\n")
        settings = FAST | {
            "receivers__chat__type": "slack",
            "receivers__chat__url_file": tmp_path / "url",
            "receivers__pager__type": "pagerduty",
            "receivers__pager__url": f"{pagerduty.url}/v2/enqueue",
            "receivers__pager__routing_key_file": tmp_path / "key",
        }
        connection.execute("drop index idx_recent_failures_unique")
        with Daemon(dsn, **settings) as daemon:
            eventually(lambda: states(pagerduty) == ["trigger"])
            connection.execute("create unique index idx_recent_failures_unique on recent_failures (id)")
            eventually(lambda: states(pagerduty) == ["trigger", "resolve"])
            eventually(lambda: any("Resolved" in got.body.decode() for got in list(slack.got)))
            for name in ("chat", "pager"):
                assert (daemon.metric("analytics_alert_deliveries_total", receiver=name) or 0) >= 2
            shown = "".join(daemon.get(path)[1] for path in ("/metrics", "/", "/status.json"))
        assert {line["receiver"] for line in daemon.lines if line["event"] == "alert.delivered"} == {"chat", "pager"}
        assert "CANARY" not in shown + "\n".join(daemon.raw)
        assert {got.path for got in slack.got} == {"/services/CANARY-7f3a"}
        assert slack.violations + pagerduty.violations == []
