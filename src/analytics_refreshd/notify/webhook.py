"""A webhook: one signed JSON message per alert and change. deploy/guides/webhook.md shows how to verify it."""

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from analytics_refreshd import __version__
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.notify.exchange import BadRequest, Request
from analytics_refreshd.notify.lane import read_secret
from analytics_refreshd.notify.ledger import Told
from analytics_refreshd.notify.messages import Message, Notice, timestamp
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings

TIMESTAMP_HEADER = "Analytics-Refreshd-Timestamp"
SIGNATURE_HEADER = "Analytics-Refreshd-Signature"


def signature(secret: bytes, sent_at: str, body: bytes) -> str:
    """`v1=` and the hexadecimal HMAC-SHA256 over the timestamp header, a dot and the body."""
    return "v1=" + hmac.new(secret, sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()


def bearer(receiver: ReceiverSettings) -> dict[str, str]:
    """The Authorization header, if the receiver has a token. Raises BadRequest."""
    if receiver.bearer_token_file is None:
        return {}
    token = read_secret(receiver.bearer_token_file, "token")
    if not token.isascii():
        raise BadRequest("the file with its token holds more than ASCII")
    return {"Authorization": f"Bearer {token}"}


class WebhookChannel:
    """Speaks to one webhook."""

    def __init__(self, receiver: ReceiverSettings, settings: DeliverySettings, clock: Clock) -> None:
        self._receiver = receiver
        self.settings = settings
        self._clock = clock

    def request(self, message: Message, url: str) -> Request:
        """The message of one notice."""
        (item,) = message.notices
        now = self._clock.now()
        body = json.dumps(
            {
                "version": 1,
                "key": item.key,
                "status": "firing" if item.firing else "resolved",
                "repeat": message.repeat,
                "database": item.database,
                "alert": item.alert,
                "view": item.view or None,
                "severity": item.severity,
                "started_at": timestamp(item.started_at),
                "fired_at": timestamp(item.fired_at),
                "resolved_at": timestamp(item.resolved_at),
                "sent_at": timestamp(now),
                "summary": item.summary,
                "description": item.description,
                "runbook": item.runbook or None,
                "page": item.page or None,
                "run_id": item.run_id,
                "replica": self.settings.replica or None,
            },
            ensure_ascii=False,
        ).encode("utf-8", "replace")
        sent_at = str(int(now.timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"analytics-refreshd/{__version__}",
            TIMESTAMP_HEADER: sent_at,
            **bearer(self._receiver),
        }
        if self._receiver.secret_file is not None:
            secret = read_secret(self._receiver.secret_file, "secret").encode()
            headers[SIGNATURE_HEADER] = signature(secret, sent_at, body)
        return Request(url, body, headers)


def plan(
    notices: Sequence[Notice],
    told: Told,
    on_the_way: set[tuple[str, str]],
    offered: set[str],
    now: datetime,
    repeat_every_seconds: float,
) -> list[Message]:
    """The messages due now: what fires and was not told, or long ago; what ended and was told or tried while it fired.

    `offered` holds the keys whose firing this process put on the way, delivered or not.
    """
    due: list[Message] = []
    for item in sorted(notices, key=lambda item: item.started_at):
        if (item.key, item.status) in on_the_way:
            continue
        sent_at = told.get((item.key, item.status))
        if item.firing:
            if sent_at is None or now - sent_at >= timedelta(seconds=repeat_every_seconds):
                due.append(Message((item,), (item,), repeat=sent_at is not None))
        elif sent_at is None and (item.key in offered or any(key == item.key for key, _ in told)):
            due.append(Message((item,), (item,)))
    return due
