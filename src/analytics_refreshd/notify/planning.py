"""Decides which alerts a receiver is due. Pure functions of what fires and what was accepted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from analytics_refreshd.notify.messages import Message, Notification

Delivered = Mapping[tuple[str, str], datetime]
"""When a receiver last accepted a status, by alert key and status."""


@dataclass(frozen=True, slots=True)
class PlanInput:
    """What one receiver's plan depends on.

    `notifications` are the alerts that fire or were resolved lately, `inhibited` those that fire and are another
    alert's symptom. `in_flight` are alert keys and statuses that wait, are being sent, or may not be tried again yet.
    `offered` are the keys whose firing this process queued, delivered or not. `since_delivery_seconds` counts from the
    last message that the receiver accepted; None before the first.
    """

    notifications: tuple[Notification, ...]
    inhibited: tuple[Notification, ...]
    delivered: Delivered
    in_flight: frozenset[tuple[str, str]]
    offered: frozenset[str]
    now: datetime
    since_delivery_seconds: float | None = None


def one_message_per_alert(given: PlanInput, repeat_every_seconds: float) -> list[Message]:
    """Plan one message per alert that is due, the oldest alert first.

    A firing alert is due if this status was not delivered, or not within `repeat_every_seconds`. A resolved one is due
    once, and only where its firing was delivered or queued. Inhibited alerts are neither repeated nor resolved.
    """
    due: list[Message] = []
    for item in sorted(given.notifications, key=lambda item: item.started_at):
        if (item.key, item.status) in given.in_flight:
            continue
        sent_at = given.delivered.get((item.key, item.status))
        if item.firing:
            if sent_at is None or given.now - sent_at >= timedelta(seconds=repeat_every_seconds):
                due.append(Message((item,), (item,), repeat=sent_at is not None))
        elif sent_at is None and (item.key in given.offered or any(key == item.key for key, _ in given.delivered)):
            due.append(Message((item,), (item,)))
    return due


def grouped(due: Sequence[Message], most: int) -> list[Message]:
    """Join messages that are due at once, `most` alerts in each.

    New alerts and repeated ones stay apart.
    """
    messages: list[Message] = []
    for repeat in (False, True):
        items = tuple(item for message in due if message.repeat == repeat for item in message.notifications)
        parts = [items[start : start + most] for start in range(0, len(items), most)]
        messages += [Message(part, part, repeat=repeat) for part in parts]
    return messages
