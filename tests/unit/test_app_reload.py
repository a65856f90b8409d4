"""A reload: what is taken over, and what is said to need a restart."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import generate_latest

from analytics_refreshd.app.daemon import Daemon
from analytics_refreshd.app.service import Service
from analytics_refreshd.app.timetable import Timetable
from analytics_refreshd.config import Config
from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.metrics import ALERT_DELIVERIES
from analytics_refreshd.core.schedule import splay_offset
from analytics_refreshd.notify.delivery import Delivery
from analytics_refreshd.notify.receivers.alertmanager import AlertmanagerSettings
from analytics_refreshd.notify.settings import DeliverySettings
from analytics_refreshd.observe.log.sink import JsonLog
from tests.support.fakes import FakeClock, FakeDeliveryStore, RecordingLog, RecordingMetrics
from tests.support.receivers import receiver
from tests.support.waiting import eventually

OPS = {"type": "alertmanager", "url": "http://127.0.0.1:1"}


def config(**sections: Any) -> Config:
    """A configuration for a database that is never asked."""
    given = {"database": {"url": "postgresql://u@localhost/orders"}, "receivers": {"ops": OPS}} | sections
    return Config.model_validate(given)


@pytest.fixture
def service() -> Iterator[Service]:
    """A daemon's parts, not started; the libraries' logging is given back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield Service(config(), warnings=[])
    finally:
        root.handlers[:], root.level = handlers, level


def test_the_same_file_read_twice_is_told_twice(service: Service) -> None:
    """What needs a restart is compared with the start, key by key, not with the reload before."""
    changed = config(
        service={"name": "shop"},
        http={"port": 9999, "public_url": "https://refreshd.example.net", "hosts": ["a"]},
        log={"format": "console", "level": "warning"},
        receivers={"pager": OPS},
        alerts={
            "repeat_every": "1h",
            "runbooks_url": "https://runbooks.example.net",
            "slow_after": "9s",
            "unusual": True,
        },
        schedule={"interval": "10m"},
    )
    expected = ["http.port", "log.format", "receivers.ops", "receivers.pager", "service.name"]
    assert service.apply(changed) == expected
    assert service.apply(changed) == expected
    assert service.state.current.limits.slow_seconds == 9.0
    assert service.state.current.unusual_enabled
    assert service.apply(config()) == []
    assert not service.state.current.unusual_enabled


def test_lost_log_lines_reach_the_page(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at the page learns that the log has holes, without a look at the metrics."""
    monkeypatch.setattr(JsonLog, "lost", property(lambda log: 7))
    Daemon(service)._tick()
    assert service.state.current.log_lines_lost == 7


def test_running_receivers_keep_their_series(service: Service) -> None:
    """Receivers stay until a restart, and so do their counts."""
    service.metrics.count(ALERT_DELIVERIES, receiver="ops")
    service.apply(config(receivers={"pager": OPS}))
    service.metrics.count(ALERT_DELIVERIES, receiver="ops")
    found = generate_latest(service.metrics.registry).decode()
    assert 'analytics_alert_deliveries_total{database="orders",receiver="ops"} 2.0' in found
    assert 'receiver="pager"' not in found
    assert 'receiver="other"' not in found


def test_the_splay_follows_the_name_in_force(service: Service) -> None:
    """A new name needs a restart; until then the slots stay where the old one puts them."""
    timetable = Timetable(service, lambda: None)
    service.apply(config(service={"name": "shop"}, schedule={"splay": "4m"}))
    timetable.reconfigured()
    splay = timedelta(minutes=4)
    assert splay_offset("orders", splay) != splay_offset("shop", splay)
    assert timetable.scheduler.get_job("refresh").trigger.schedule.offset == splay_offset("orders", splay)


def test_delivery_goes_by_new_settings() -> None:
    """Links and lifetimes of what is sent next are the new ones: an alert must outlive slower evaluations."""
    clock = FakeClock()
    firing = AlertRecord(Alert.VIEW_STALE, "v", AlertState.FIRING, Severity.WARNING, clock.now(), clock.now())
    with receiver() as server:
        delivery = Delivery(
            [AlertmanagerSettings("ops", url=server.url)],
            DeliverySettings("orders"),
            store=FakeDeliveryStore(),
            log=RecordingLog(),
            metrics=RecordingMetrics(),
            clock=clock,
        )
        delivery.configure(
            DeliverySettings("orders", evaluate_every_seconds=600.0, runbooks_url="https://runbooks.example.net")
        )
        delivery.alerts([firing], inhibited=[])
        eventually(lambda: server.got)
        delivery.stop(5.0)
        (sent,) = server.got[0].json
    assert sent["annotations"]["runbook"] == "https://runbooks.example.net/AnalyticsViewStale.md"
    ends_at = datetime.fromisoformat(sent["endsAt"])
    assert ends_at.astimezone(UTC) - clock.now() == timedelta(seconds=2400)
