"""A real Alertmanager receives, groups, keeps and resolves what the daemon posts."""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.notify.delivery import Delivery
from analytics_refreshd.notify.receivers.alertmanager import AlertmanagerSettings
from analytics_refreshd.notify.settings import DeliverySettings
from tests.support.fakes import FakeDeliveryStore, RecordingLog, RecordingMetrics
from tests.support.postgres import free_port
from tests.support.receivers import Receiver, receiver
from tests.support.waiting import eventually

BINARY = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

pytestmark = [
    pytest.mark.fault,
    pytest.mark.quick,
    pytest.mark.skipif(BINARY is None, reason="no Alertmanager is installed (Debian: prometheus-alertmanager)"),
]


@pytest.fixture
def pager() -> Iterator[Receiver]:
    """Where the Alertmanager sends its messages."""
    with receiver() as server:
        yield server


@pytest.fixture
def alertmanager(pager: Receiver, tmp_path: Path) -> Iterator[str]:
    """A running Alertmanager's URL; it groups by database and waits a second."""
    route = {
        "receiver": "pager",
        "group_by": ["database"],
        "group_wait": "1s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    configuration = {
        "route": route,
        "receivers": [{"name": "pager", "webhook_configs": [{"url": pager.url, "send_resolved": True}]}],
    }
    (tmp_path / "alertmanager.yaml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    command = [
        str(BINARY),
        f"--config.file={tmp_path / 'alertmanager.yaml'}",
        f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: urllib.request.urlopen(f"{url}/-/ready", timeout=5).status == 200)
        yield url
    finally:
        process.kill()
        process.wait()


def known(url: str) -> list[dict[str, Any]]:
    """What the Alertmanager has at this moment."""
    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=5) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())
    return found


def messages(pager: Receiver) -> list[tuple[str, set[tuple[str, str, str]]]]:
    """What was paged: each message's status, and its alerts by status, severity and view."""
    return [
        (
            got.json["status"],
            {
                (item["status"], item["labels"]["severity"], item["labels"].get("view", ""))
                for item in got.json["alerts"]
            },
        )
        for got in list(pager.got)
    ]


def test_F11_a_real_alertmanager_receives_groups_keeps_and_resolves(alertmanager: str, pager: Receiver) -> None:
    """Two stale views are one message; they outlive their own end times while they fire; one resolution ends both."""
    clock, counts = SystemClock(), RecordingMetrics()
    settings = DeliverySettings(
        "shop", "one", evaluate_every_seconds=0.2, resend_seconds=1.0, page_url="http://shop.example.com:9720/"
    )
    delivery = Delivery(
        [AlertmanagerSettings("am", url=alertmanager)],
        settings,
        store=FakeDeliveryStore(),
        log=RecordingLog(),
        metrics=counts,
        clock=clock,
    )
    began = clock.now()
    records = [
        AlertRecord(
            Alert.VIEW_STALE, view, AlertState.FIRING, Severity.WARNING, began, began, None, f"shop: {view} is old", "x"
        )
        for view in ("recent_failures", "action_metrics_hourly")
    ]

    def evaluate_until(probe: Any, *alerts: AlertRecord) -> None:
        def once() -> bool:
            delivery.alerts(alerts, inhibited=[])
            return bool(probe())

        eventually(once, within=30, every=0.2)

    try:
        evaluate_until(lambda: pager.got, *records)
        views = {("firing", "warning", record.view) for record in records}
        assert messages(pager) == [("firing", views)]
        (first, second) = sorted(known(alertmanager), key=lambda item: item["labels"]["view"])
        assert first["labels"] == {
            "alertname": "AnalyticsViewStale",
            "database": "shop",
            "severity": "warning",
            "view": "action_metrics_hourly",
        }
        assert first["generatorURL"] == "http://shop.example.com:9720/"
        assert second["annotations"] == {
            "summary": "shop: recent_failures is old",
            "description": "x",
            "runbook": "deploy/runbooks/AnalyticsViewStale.md",
        }
        # Each post's end lies four seconds ahead: after nine, only the repeated posts can have kept the alerts.
        evaluate_until(lambda: (clock.now() - began).total_seconds() > 9.0, *records)
        assert len(known(alertmanager)) == 2
        assert messages(pager) == [("firing", views)]

        worse = [replace(record, severity=Severity.CRITICAL) for record in records]
        evaluate_until(lambda: {item["labels"]["severity"] for item in known(alertmanager)} == {"critical"}, *worse)

        over = [replace(record, state=AlertState.RESOLVED, resolved_at=clock.now()) for record in worse]
        evaluate_until(lambda: pager.got[-1].json["status"] == "resolved", *over)
        assert {item for _, alerts in messages(pager) for item in alerts} >= {
            ("resolved", "critical", record.view) for record in records
        }
        assert known(alertmanager) == []
        assert counts.bad == {}
    finally:
        delivery.stop(5.0)
