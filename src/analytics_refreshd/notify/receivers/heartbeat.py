"""Pings a dead-man service at each cycle's start, success and failure. It notices silence.

The convention is that of healthchecks.io and others: success at the address itself, the rest at /start and /fail.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from analytics_refreshd.core.model import Outcome, Run
from analytics_refreshd.notify.messages import Message, Ping
from analytics_refreshd.notify.receiver import CycleReceiver, ReceiverType
from analytics_refreshd.notify.request import Request, bearer, json_request
from analytics_refreshd.notify.settings import UrlFileSettings

_NO_FAILURE = frozenset({Outcome.SKIPPED, Outcome.CANCELLED, Outcome.UNKNOWN})


@dataclass(frozen=True, kw_only=True)
class HeartbeatSettings(UrlFileSettings):
    """One dead-man service's settings."""

    bearer_token_file: Path | None = None


class HeartbeatReceiver(CycleReceiver[HeartbeatSettings]):
    """Ping one dead-man service."""

    queue_length = 4

    def ping(self, phase: str, run: Run | None) -> Message | None:
        """Return a ping for what happened. A run that was skipped, cancelled or has an unknown end is no failure."""
        failed = run is None or run.outcome not in _NO_FAILURE
        return Message(ping=Ping(phase, run)) if phase != "fail" or failed else None

    def request(self, message: Message, url: str) -> Request:
        """Build one ping, with what happened in its body."""
        ping = message.ping or Ping("success", None)
        if ping.phase != "success":
            parts = urlsplit(url)
            url = parts._replace(path=f"{parts.path.rstrip('/')}/{ping.phase}").geturl()
        run = ping.run
        facts = {
            "database": self.delivery.database,
            "replica": self.delivery.replica or None,
            "phase": ping.phase,
            "run_id": str(run.run_id) if run else None,
            "outcome": run.outcome.value if run and run.outcome else None,
            "reason": run.reason.value if run and run.reason else None,
            "duration_seconds": round(run.duration_seconds, 3) if run and run.duration_seconds is not None else None,
        }
        payload = {name: value for name, value in facts.items() if value is not None}
        return json_request(url, payload, bearer(self.settings.bearer_token_file))


TYPE = ReceiverType(HeartbeatSettings, HeartbeatReceiver)
