"""Posts to a webhook: one signed JSON message for what changed at once. See deploy/guides/webhook.md."""

import hashlib
import hmac
from dataclasses import dataclass, replace
from pathlib import Path

from analytics_refreshd.notify.messages import Message, Notification, timestamp
from analytics_refreshd.notify.planning import PlanInput, grouped, one_message_per_alert
from analytics_refreshd.notify.receiver import AlertReceiver, ReceiverType
from analytics_refreshd.notify.request import Request, bearer, json_request, read_secret
from analytics_refreshd.notify.settings import UrlFileSettings

TIMESTAMP_HEADER = "Analytics-Refreshd-Timestamp"
_MOST_ALERTS = 20
SIGNATURE_HEADER = "Analytics-Refreshd-Signature"


@dataclass(frozen=True, kw_only=True)
class WebhookSettings(UrlFileSettings):
    """One webhook's settings. `secret_file` signs its messages."""

    secret_file: Path | None = None
    bearer_token_file: Path | None = None


def signature(secret: bytes, sent_at: str, body: bytes) -> str:
    """Sign a body. `v1=` and the hexadecimal HMAC-SHA256 over the timestamp header, a dot and the body."""
    return "v1=" + hmac.new(secret, sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookReceiver(AlertReceiver[WebhookSettings]):
    """Send the alerts that are due together, as one message."""

    def plan(self, given: PlanInput) -> list[Message]:
        """Plan one message for what fires, and one for what was resolved. One cause makes many alerts at once."""
        due = one_message_per_alert(given, self.delivery.repeat_every_seconds)
        firing = [message for message in due if message.notifications[0].firing]
        over = [message for message in due if not message.notifications[0].firing]
        return [*grouped(firing, _MOST_ALERTS), *grouped(over, _MOST_ALERTS)]

    def request(self, message: Message, url: str) -> Request:
        """Build the POST for the alerts of `message`, and sign it.

        The first alert's fields stand at the top too, as where it is the only one.
        """
        now = self.clock.now()
        alerts = [_alert(item) for item in message.notifications]
        payload = {
            "version": 2,
            **alerts[0],
            "repeat": message.repeat,
            "sent_at": timestamp(now),
            "replica": self.delivery.replica or None,
            "alerts": alerts,
        }
        sent_at = str(int(now.timestamp()))
        made = json_request(url, payload, {TIMESTAMP_HEADER: sent_at, **bearer(self.settings.bearer_token_file)})
        if self.settings.secret_file is None:
            return made
        secret = read_secret(self.settings.secret_file, "secret").encode()
        return replace(made, headers={**made.headers, SIGNATURE_HEADER: signature(secret, sent_at, made.body)})


def _alert(item: Notification) -> dict[str, object]:
    return {
        "key": item.key,
        "status": "firing" if item.firing else "resolved",
        "database": item.database,
        "alert": item.alert,
        "view": item.view or None,
        "severity": item.severity,
        "started_at": timestamp(item.started_at),
        "fired_at": timestamp(item.fired_at),
        "resolved_at": timestamp(item.resolved_at),
        "summary": item.summary,
        "description": item.description,
        "runbook": item.runbook or None,
        "page": item.page or None,
        "run_id": item.run_id,
    }


TYPE = ReceiverType(WebhookSettings, WebhookReceiver)
