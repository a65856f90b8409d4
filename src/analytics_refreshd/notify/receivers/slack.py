"""Posts to a Slack channel by an incoming webhook. Mattermost accepts the same format.

Sources: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments and
https://developers.mattermost.com/integrate/webhooks/incoming. Attachments instead of blocks: Mattermost shows no
blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analytics_refreshd.core.runbooks import web_link
from analytics_refreshd.notify.messages import Message, Notification, timestamp
from analytics_refreshd.notify.planning import PlanInput, grouped, one_message_per_alert
from analytics_refreshd.notify.receiver import AlertReceiver, ReceiverType
from analytics_refreshd.notify.request import Request, json_request
from analytics_refreshd.notify.settings import UrlFileSettings

_MOST_ATTACHMENTS = 20
"""Slack accepts 100 and advises against more than 20."""
_TEXT_CHARACTERS = 4000
_ATTACHMENT_CHARACTERS = 3000
_TITLE_CHARACTERS = 300
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_COLOURS = {"resolved": "#2eb886", "firing:info": "#3b82c4", "firing:warning": "#daa038", "firing:critical": "#a30200"}


@dataclass(frozen=True, kw_only=True)
class SlackSettings(UrlFileSettings):
    """One incoming webhook's settings. Its address is a secret: it belongs in `url_file`."""


class SlackReceiver(AlertReceiver[SlackSettings]):
    """Send the alerts that are due together, as one message."""

    def plan(self, given: PlanInput) -> list[Message]:
        """Plan one message for new alerts and one for repeated ones. Each is split after 20 alerts."""
        due = one_message_per_alert(given, self.delivery.repeat_every_seconds)
        return grouped(due, _MOST_ATTACHMENTS)

    def request(self, message: Message, url: str) -> Request:
        """Build the POST. One line sums up, one attachment per alert follows."""
        items = message.notifications
        payload = {
            "text": escaped(_headline(items, repeat=message.repeat), _TEXT_CHARACTERS),
            "attachments": [self._attachment(item) for item in items],
        }
        return json_request(url, payload)

    def _attachment(self, item: Notification) -> dict[str, object]:
        fields = [
            ("Severity", item.severity, True),
            ("View", item.view, True),
            ("Since", timestamp(item.started_at), True),
            ("Resolved", timestamp(item.resolved_at), True),
            ("Run", item.run_id, False),
            ("Runbook", item.runbook, False),
        ]
        attachment: dict[str, object] = {
            "color": _COLOURS[item.status],
            "fallback": escaped(item.summary, _ATTACHMENT_CHARACTERS),
            "title": escaped(f"{_state(item)}: {item.alert}", _TITLE_CHARACTERS),
            "text": escaped(f"{item.summary}\n{item.description}", _ATTACHMENT_CHARACTERS),
            "fields": [
                {"title": title, "value": escaped(value, _TITLE_CHARACTERS), "short": short}
                for title, value, short in fields
                if value
            ],
            "footer": escaped(" ".join(filter(None, ("analytics-refreshd", self.delivery.replica))), _TITLE_CHARACTERS),
            "ts": int((item.resolved_at or item.started_at).timestamp()),
            # No field is markdown: an asterisk or underscore of an error message is one.
            "mrkdwn_in": [],
        }
        page = web_link(item.page)
        if page:
            attachment["title_link"] = page
        return attachment


def escaped(text: str, most_characters: int) -> str:
    """Escape &, < and > as Slack demands. Cut to `most_characters`, between escapes."""
    pieces = [_ESCAPES.get(character, character) for character in text]
    if sum(map(len, pieces)) <= most_characters:
        return "".join(pieces)
    kept, left = [], most_characters - 1
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def _headline(items: Sequence[Notification], *, repeat: bool) -> str:
    if len(items) == 1:
        (item,) = items
        return f"{'Still firing' if repeat else _state(item)}: {item.summary}"
    firing = sum(item.firing for item in items)
    counts = [(firing, "still firing" if repeat else "firing"), (len(items) - firing, "resolved")]
    return f"{items[0].database}: {', '.join(f'{count} {what}' for count, what in counts if count)}"


def _state(item: Notification) -> str:
    return "Firing" if item.firing else "Resolved"


TYPE = ReceiverType(SlackSettings, SlackReceiver)
