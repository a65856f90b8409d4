"""Posts to Prometheus' Alertmanager by its v2 API. It gets all firing alerts again long before they expire there.

Source: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml and the clients' duties in
https://prometheus.io/docs/alerting/latest/alerts_api/.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from analytics_refreshd.core.alerts.lifecycle import Severity
from analytics_refreshd.notify.messages import Message, Notification, timestamp
from analytics_refreshd.notify.planning import PlanInput
from analytics_refreshd.notify.receiver import AlertReceiver, ReceiverType
from analytics_refreshd.notify.request import Request, bearer, json_request
from analytics_refreshd.notify.settings import DeliverySettings, UrlFileSettings

_PATH = "/api/v2/alerts"
_RESENDS_UNTIL_EXPIRY = 4
_ALMOST = 0.9
"""An evaluation that comes a little early still resends: the next one may be a whole period later."""
_FIRING = tuple(f"firing:{severity.value}" for severity in Severity)


@dataclass(frozen=True, kw_only=True)
class AlertmanagerSettings(UrlFileSettings):
    """One Alertmanager's settings. `url` is its base, as in a browser, or its alerts endpoint."""

    bearer_token_file: Path | None = None


def endpoint(url: str) -> str:
    """Return where alerts are posted. A query string stays behind the path, and a fragment is left out."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # refused when it is posted to
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH, fragment=""))


def resend_seconds(settings: DeliverySettings) -> float:
    """Return how often firing alerts are posted again."""
    return max(settings.resend_seconds, settings.evaluate_every_seconds)


class AlertmanagerReceiver(AlertReceiver[AlertmanagerSettings]):
    """Post all alerts together, when one changes and at regular intervals."""

    def plan(self, given: PlanInput) -> list[Message]:
        """Plan at most one post. It is due when an alert changed, else when a resend is due."""
        since = given.since_delivery_seconds
        late = since is None or since >= _ALMOST * resend_seconds(self.delivery)
        current = {item.key for item in (*given.notifications, *given.inhibited)}
        busy = any(key in current for key, _ in given.in_flight)
        return plan_post(given, resend=late and not busy)

    def request(self, message: Message, url: str) -> Request:
        """Build one POST with all alerts. If an alert changed its severity, also resolve the old label set."""
        now = self.clock.now()
        alerts = [self._alert(item, now) for item in message.notifications]
        alerts += [self._alert(replace(item, firing=False, resolved_at=now), now) for item in message.superseded]
        return json_request(endpoint(url), alerts, bearer(self.settings.bearer_token_file))

    def _alert(self, item: Notification, now: datetime) -> dict[str, object]:
        lives_for = timedelta(seconds=_RESENDS_UNTIL_EXPIRY * resend_seconds(self.delivery))
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


def plan_post(given: PlanInput, *, resend: bool) -> list[Message]:
    """Plan one post of all alerts if one changed.

    Also if `resend` is set and one fires. An inhibited alert that was delivered before is posted as firing: otherwise
    the Alertmanager would declare it resolved. A resolved alert is posted where its firing was delivered or queued.
    """
    delivered = given.delivered
    known = given.offered | {key for key, _ in delivered}
    kept = [item for item in given.inhibited if item.firing and any((item.key, s) in delivered for s in _FIRING)]
    current = [item for item in given.notifications if item.firing or item.key in known]
    changed = [
        item
        for item in current
        if (item.key, item.status) not in delivered and (item.key, item.status) not in given.in_flight
    ]
    if not changed and not (resend and any(item.firing for item in [*current, *kept])):
        return []
    superseded = [
        replace(item, severity=severity.value)
        for item in changed
        for severity in Severity
        if item.firing and item.severity != severity.value and (item.key, f"firing:{severity.value}") in delivered
    ]
    return [Message((*current, *kept), tuple(changed), tuple(superseded), repeat=not changed, replaces=True)]


TYPE = ReceiverType(AlertmanagerSettings, AlertmanagerReceiver)
