"""Describes alerts to receivers. One notification per alert, its text safe for any reader."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from analytics_refreshd.core.alerts.lifecycle import AlertRecord, AlertState
from analytics_refreshd.core.model import Run
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.runbooks import runbook
from analytics_refreshd.core.wording import rfc3339
from analytics_refreshd.notify.settings import DeliverySettings

_SUMMARY_BYTES = 300
_TEXT_BYTES = 1024
_READ_CHARACTERS = 4096
_MENTION = re.compile(r"(?<![\w.+-])@(?=\w)")
_MARKUP = str.maketrans({"<": "‹", ">": "›", "`": "'"})  # noqa: RUF001 - the look-alikes are the point


@dataclass(frozen=True, slots=True)
class Notification:
    """Describe one alert to receivers. Every message about one episode has the same `key`, whoever sends it."""

    key: str
    database: str
    alert: str
    view: str
    firing: bool
    severity: str
    started_at: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    summary: str
    description: str
    runbook: str
    page: str
    run_id: str | None

    @property
    def status(self) -> str:
        """What is recorded as delivered. `resolved`, or `firing:` with the severity, so that a rise is sent too."""
        return f"firing:{self.severity}" if self.firing else "resolved"


@dataclass(frozen=True, slots=True)
class Ping:
    """Report a cycle's `start`, `success` or `fail`."""

    phase: str
    run: Run | None


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to send: notifications or a ping. `repeat` marks what the receiver already accepted.

    `logged` are the notifications whose delivery gets a log line. `superseded` are alerts that now fire with another
    severity. `replaces` marks a message that holds all that earlier ones of its kind do: those that wait are dropped.
    """

    notifications: tuple[Notification, ...] = ()
    logged: tuple[Notification, ...] = ()
    superseded: tuple[Notification, ...] = ()
    ping: Ping | None = None
    repeat: bool = False
    replaces: bool = False


def alert_key(database: str, record: AlertRecord) -> str:
    """Build the key of an alert's episode. Database, alert, view and start: the same on every replica."""
    started = record.active_at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    return f"{database}/{record.alert.value}/{record.view or '-'}/{started}Z"


def notification(record: AlertRecord, settings: DeliverySettings) -> Notification:
    """Describe a firing or resolved record."""
    return Notification(
        key=alert_key(settings.database, record),
        database=settings.database,
        alert=record.alert.value,
        view=record.view,
        firing=record.state is not AlertState.RESOLVED,
        severity=record.severity.value,
        started_at=record.active_at,
        fired_at=record.fired_at,
        resolved_at=record.resolved_at,
        summary=clean(record.summary, _SUMMARY_BYTES),
        description=clean(record.description, _TEXT_BYTES),
        runbook=runbook(settings.runbooks_url, record.alert.value),
        page=settings.page_url,
        run_id=str(record.run_id) if record.run_id else None,
    )


def clean(text: str, most_bytes: int = _TEXT_BYTES) -> str:
    """Put the text on one line and make it harmless.

    Control characters, markup, links and mentions go. The result is at most `most_bytes` of UTF-8. A receiver that
    refuses a message for its text would lose the alert; one that renders markup would let an error message write to
    everybody.
    """
    seen = printable(text[:_READ_CHARACTERS]).translate(_MARKUP).replace("](", "] (")
    encoded = _MENTION.sub("＠", seen).encode("utf-8", "replace")  # noqa: RUF001 - the look-alike is the point
    if len(encoded) <= most_bytes and len(text) <= _READ_CHARACTERS:
        return encoded.decode()
    note = f"… ({len(text)} characters)"
    return encoded[: most_bytes - len(note.encode())].decode("utf-8", "ignore") + note


def timestamp(moment: datetime | None) -> str | None:
    """Format a moment as RFC 3339 in UTC with milliseconds. None stays None."""
    return rfc3339(moment) if moment else None
