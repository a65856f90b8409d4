"""Daemon, Prometheus, Alertmanager and a webhook, all of them real: what is shipped works together."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from tests.benchmarks.data import add_rows
from tests.deploy.live import Prometheus, Webhook, monitoring
from tests.deploy.test_dashboard import expressions as panel_expressions
from tests.deploy.test_dashboard import plain
from tests.deploy.test_prometheus_rules import rules
from tests.support.daemon import Daemon
from tests.support.postgres import free_port
from tests.support.waiting import eventually

VIEW = "action_metrics_hourly"
TROUBLE = ("AnalyticsViewStale", "AnalyticsRefreshFailed")
_ACTION = """
insert into action_results (id, job_id, trigger_id, action_type, status, duration_ms)
values ('new', 'job', 'trigger-1', 'rest', 'success', 5)"""
_SELECTOR = re.compile(r"(?<![\w:\"])((?:database(?:_view)?:)?analytics_[a-z0-9_:]+|up)(?![\w:(])(\{[^}]*\})?")


def selectors(expressions: list[str]) -> list[str]:
    """Every metric with its matchers, as it stands in the expressions."""
    without_absent = [re.sub(r"absent\(.*\)", "", plain(text)) for text in expressions]
    without_groups = [re.sub(r"\b(?:by|on|group_left) ?\([^)]*\)", "", text) for text in without_absent]
    return sorted({f"{name}{matchers}" for text in without_groups for name, matchers in _SELECTOR.findall(text)})


@contextmanager
def held(dsn: str) -> Iterator[None]:
    """The view's lock, held by a session that does not commit, while new actions arrive."""
    with psycopg.connect(dsn, application_name="nightly-etl") as session:
        # that lock and no other: in incremental mode a refresh would fold as well
        session.execute("set analytics_refresh.fold = 'off'")
        session.execute(f"refresh materialized view concurrently {VIEW}")
        with psycopg.connect(dsn, autocommit=True) as application:
            application.execute(_ACTION)
        yield
        session.rollback()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Where the pages arrive."""
    receiver = Webhook()
    yield receiver
    receiver.close()


@pytest.fixture
def filled_dsn(dsn: str) -> str:
    """A database in incremental mode, so that its metrics exist too, with a day of actions."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into triggers (id, name) select 'trigger-' || i, 't' from generate_series(0, 99) i")
        incremental.install(connection, "public")
        now = datetime.now(UTC)
        add_rows(connection, 1, 500, since=now - timedelta(hours=20), span=timedelta(hours=20), triggers=100)
        connection.execute("select refresh_action_analytics()")
        assert verify(connection).ok
    return dsn


def every(probe: Callable[[str], Any], items: list[str]) -> Callable[[], bool]:
    """All of them at once, and in the message those that are missing."""

    def check() -> bool:
        missing = [item for item in items if not probe(item)]
        assert missing == []
        return True

    return check


@pytest.mark.slow
def test_a_held_lock_reaches_the_pager_and_its_release_too(filled_dsn: str, webhook: Webhook, tmp_path: Path) -> None:
    """Every selector of rules and dashboard finds data; a held lock pages as stale and failed, and resolves."""
    port = free_port()
    settings: dict[str, Any] = {
        "service__name": "orders",
        "schedule__interval": "2s",
        "staleness__max_age": "6s",
        "staleness__critical_age": "60s",
        "http__port": port,
        "queries__probes": ["summary"],
        # whatever the generated actions take
        "alerts__latency_p95_max": "1m",
        "receivers": {"own": {"type": "webhook", "url": "http://127.0.0.1:9/"}},
    }
    with Daemon(filled_dsn, **settings), monitoring(tmp_path, f"127.0.0.1:{port}", webhook) as prometheus:
        ruled = [str(rule["expr"]) for rule in rules()]
        # no API runs here: the tests of the rules have its series
        every_one = selectors(ruled + panel_expressions())
        # nor is the growth of a database known within a day, nor told what is off until asked for
        off = "disk_full_seconds|analytics_(unusual|expected|warehouse)|failing_trigger|warehouse_behind"
        others = f'process="api"|{off}'
        ours = [one for one in every_one if not re.search(others, one)]
        eventually(every(prometheus.query, ours), within=60)
        assert not _firing(prometheus)

        with held(filled_dsn):
            for name in TROUBLE:
                fired = eventually(partial(webhook.seen, name, VIEW, "firing"), within=60)
                assert fired["labels"]["database"] == "orders"
                assert fired["annotations"]["summary"].startswith("orders: ")
                assert fired["annotations"]["runbook_url"].endswith(f"/{name}.md")
            for rule in rules():
                if rule.get("alert") in TROUBLE and rule["labels"] == {"severity": "warning"}:
                    assert prometheus.query(str(rule["expr"])), rule["alert"]
            views = {labels["view"] for labels in _firing(prometheus)}
            assert views == {VIEW}, json.dumps(webhook.alerts, indent=1)

        for name in TROUBLE:
            eventually(partial(webhook.seen, name, VIEW, "resolved"), within=60)
        eventually(lambda: not _firing(prometheus), within=30)


@pytest.mark.slow
def test_a_daemon_that_is_gone_is_missed_by_name(
    databases: Callable[..., str], migrated_template: str, webhook: Webhook, tmp_path: Path
) -> None:
    """Killed, a daemon is missed by its database's name, though nothing is left that could export it."""
    port = free_port()
    daemon = Daemon(databases(migrated_template), service__name="billing", schedule__interval="2s", http__port=port)
    with daemon, monitoring(tmp_path, f"127.0.0.1:{port}", webhook) as prometheus:
        eventually(lambda: prometheus.query('analytics_leader{database="billing"} == 1'), within=60)
        daemon.process.kill()
        gone = eventually(
            lambda: [a for a in webhook.alerts if a["labels"]["alertname"] == "AnalyticsRefreshdDown"], within=90
        )
        assert {alert["labels"].get("database") for alert in gone} == {"billing"}


def _firing(prometheus: Prometheus) -> list[dict[str, str]]:
    """The labels of every alert of ours that fires."""
    return [alert["labels"] for alert in prometheus.get("/api/v1/alerts")["alerts"] if alert["state"] == "firing"]
