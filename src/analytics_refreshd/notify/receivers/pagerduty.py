"""Posts to PagerDuty by its Events API v2. An alert triggers an incident, its resolution resolves it.

Hints (severity `info`) are left out: each event would wake somebody.

Source: https://developer.pagerduty.com/docs/events-api-v2-overview (send an alert event).
"""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from analytics_refreshd.core.alerts.lifecycle import Severity
from analytics_refreshd.core.runbooks import web_link
from analytics_refreshd.notify.messages import Message, Notification, timestamp
from analytics_refreshd.notify.planning import PlanInput, one_message_per_alert
from analytics_refreshd.notify.receiver import AlertReceiver, ReceiverType
from analytics_refreshd.notify.request import Request, json_request, read_ascii_secret
from analytics_refreshd.notify.settings import ReceiverSettings

_KEY_CHARACTERS = 255
_SUMMARY_CHARACTERS = 1024


@dataclass(frozen=True, kw_only=True)
class PagerdutySettings(ReceiverSettings):
    """One PagerDuty service's settings.

    `routing_key_file` holds the integration key of a service's Events API v2 integration. `url` differs for accounts
    in PagerDuty's EU region.
    """

    url: str | None = field(default="https://events.pagerduty.com/v2/enqueue", repr=False)
    routing_key_file: Path


class PagerdutyReceiver(AlertReceiver[PagerdutySettings]):
    """Send one event per alert."""

    def plan(self, given: PlanInput) -> list[Message]:
        """Plan one event per alert that is due. A rise in severity triggers again with the same key."""
        pages = tuple(item for item in given.notifications if item.severity != Severity.INFO)
        return one_message_per_alert(replace(given, notifications=pages), self.delivery.repeat_every_seconds)

    def request(self, message: Message, url: str) -> Request:
        """Build the event. `trigger` for a firing alert, `resolve` for a resolved one."""
        (item,) = message.notifications
        event: dict[str, object] = {
            "routing_key": read_ascii_secret(self.settings.routing_key_file, "routing key"),
            "event_action": "trigger" if item.firing else "resolve",
            "dedup_key": dedup_key(item.key),
        }
        if item.firing:
            event |= self._details(item)
        return json_request(url, event)

    def _details(self, item: Notification) -> dict[str, object]:
        runbook, page = web_link(item.runbook), web_link(item.page)
        details = {
            "description": item.description,
            "view": item.view,
            "run_id": item.run_id,
            "runbook": item.runbook,
            "page": item.page,
            "replica": self.delivery.replica,
            "fired_at": timestamp(item.fired_at),
            "key": item.key,
        }
        shown: dict[str, object] = {
            "payload": {
                "summary": item.summary[:_SUMMARY_CHARACTERS],
                "source": item.database,
                "severity": item.severity,  # ours are severities of PagerDuty too
                "timestamp": timestamp(item.started_at),
                "component": item.view or "database",
                "group": item.database,
                "class": item.alert,
                "custom_details": {name: value for name, value in details.items() if value},
            },
            "client": "analytics-refreshd",
        }
        if page:
            shown["client_url"] = page
        if runbook:
            shown["links"] = [{"href": runbook, "text": f"Runbook of {item.alert}"}]
        return shown


def dedup_key(key: str) -> str:
    """Return the alert's key, cut to 255 characters. A hash of the whole keeps a cut one unique."""
    if len(key) <= _KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
    return f"{key[: _KEY_CHARACTERS - len(digest) - 1]}~{digest}"


TYPE = ReceiverType(PagerdutySettings, PagerdutyReceiver)
