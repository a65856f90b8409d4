"""Prometheus' Alertmanager, by its v2 API: the whole of what fires, sent again long before it would expire there.

Source: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml and the clients' duties in
https://prometheus.io/docs/alerting/latest/alerts_api/.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from analytics_refreshd import __version__
from analytics_refreshd.core.alerts.lifecycle import Severity
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.notify.exchange import Request
from analytics_refreshd.notify.ledger import Told
from analytics_refreshd.notify.messages import Message, Notice, timestamp
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings
from analytics_refreshd.notify.webhook import bearer

_PATH = "/api/v2/alerts"
_PERIODS_OF_SLACK = 4


class AlertmanagerChannel:
    """Speaks to one Alertmanager. `url` is its base, as in a browser, or that of its alerts endpoint."""

    def __init__(self, receiver: ReceiverSettings, settings: DeliverySettings, clock: Clock) -> None:
        self._receiver = receiver
        self.settings = settings
        self._clock = clock

    def request(self, message: Message, url: str) -> Request:
        """One post of every notice; what goes on under another severity is ended in it."""
        now = self._clock.now()
        alerts = [self._alert(item, now) for item in message.notices]
        alerts += [self._alert(replace(item, firing=False, resolved_at=now), now) for item in message.ended]
        base = url.rstrip("/")
        return Request(
            base if base.endswith(_PATH) else base + _PATH,
            json.dumps(alerts, ensure_ascii=False).encode("utf-8", "replace"),
            {
                "Content-Type": "application/json",
                "User-Agent": f"analytics-refreshd/{__version__}",
                **bearer(self._receiver),
            },
        )

    def _alert(self, item: Notice, now: datetime) -> dict[str, object]:
        lives_for = timedelta(seconds=_PERIODS_OF_SLACK * resend_seconds(self.settings))
        labels = {"alertname": item.alert, "database": item.database, "severity": item.severity, "view": item.view}
        annotations = {"summary": item.summary, "description": item.description, "runbook": item.runbook}
        alert: dict[str, object] = {
            "labels": {name: value for name, value in labels.items() if value},
            "annotations": {name: value for name, value in annotations.items() if value},
            "startsAt": timestamp(item.started_at),
            "endsAt": timestamp(now + lives_for if item.firing else item.resolved_at or now),
        }
        if item.page:
            alert["generatorURL"] = item.page
        return alert


def resend_seconds(settings: DeliverySettings) -> float:
    """How often what fires is posted anew."""
    return max(settings.resend_seconds, settings.evaluate_every_seconds)


def plan(
    notices: Sequence[Notice],
    held: Sequence[Notice],
    told: Told,
    on_the_way: set[tuple[str, str]],
    offered: set[str],
    *,
    resend: bool,
) -> list[Message]:
    """The one post due now, or none: at once when something changed, else when `resend` says that it is time.

    What is held back and was told before is still posted as firing: without that the Alertmanager would declare it
    resolved. What ended is posted where its beginning was told or tried.
    """
    known = offered | {key for key, _ in told}
    kept = [item for item in held if item.firing and any((item.key, s) in told for s in _FIRING)]
    current = [item for item in notices if item.firing or item.key in known]
    fresh = [
        item for item in current if (item.key, item.status) not in told and (item.key, item.status) not in on_the_way
    ]
    if not fresh and not (resend and any(item.firing for item in [*current, *kept])):
        return []
    ended = [
        replace(item, severity=severity.value)
        for item in fresh
        for severity in Severity
        if item.firing and item.severity != severity.value and (item.key, f"firing:{severity.value}") in told
    ]
    return [Message((*current, *kept), tuple(fresh), tuple(ended), repeat=not fresh, replaces=True)]


_FIRING = tuple(f"firing:{severity.value}" for severity in Severity)
